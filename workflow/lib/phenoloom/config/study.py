"""What the DAG asks of a study: its datasets, plates, batches of sites, representations, profiles and evaluations.

Cheap on purpose: it is built each time Snakemake starts, also in every job.
"""

import functools

from phenoloom.cellprofiler import batches
from phenoloom.core.errors import InputError
from phenoloom.core.names import encode
from phenoloom.cytometry import samples
from phenoloom.evaluation import plan
from phenoloom.ingest import geometry
from phenoloom.simulate import design

#: Events of a sample, and pixels of an event's channel, for estimates before images are listed.
EVENTS, EVENT_PIXELS = 10_000, 104 * 104


def _once(method):
    """Answer a question about one dataset once: thousands of jobs ask it while the DAG is built."""

    @functools.wraps(method)
    def answer(study, dataset):
        key = method.__name__, dataset
        if key not in study._answers:
            study._answers[key] = method(study, dataset)
        return study._answers[key]

    return answer


class Study:
    """A completed config together with the folder of its results. Plates are named by their encoded identifiers."""

    def __init__(self, config, results):
        self.config = config
        self.results = results
        self._answers = {}

    def datasets(self):
        """Names of all datasets, in the config's order."""
        return list(self.config["datasets"])

    def dataset(self, dataset):
        """The completed block of one dataset."""
        return self.config["datasets"][dataset]

    def image_datasets(self):
        """Datasets that have images."""
        return [name for name in self.datasets() if self.has_images(name)]

    def plate_datasets(self):
        """Datasets of wells: all that go through profiles, and not those of single events."""
        return [name for name in self.datasets() if name not in self.event_datasets() and not self.merged(name)]

    def event_datasets(self):
        """Datasets of single events with their images."""
        return [name for name in self.datasets() if self.dataset(name).get("samples")]

    def merged(self, dataset):
        """Names of the datasets that a dataset is put together from; none for most."""
        return (self.dataset(dataset).get("merge") or {}).get("datasets", [])

    def samples(self, dataset):
        """Encoded names of the samples of a dataset of events, in the order of its table."""
        return list(self._samples(dataset))

    def listed_by_jobs(self):
        """Datasets of events whose files jobs list, since `prepare` has not."""
        return [name for name in self.event_datasets() if not self._counted(name)]

    def sample_row(self, dataset, sample):
        """Row of the table of samples of one sample, as dict of text."""
        return self._samples(dataset)[sample]

    def n_events(self, dataset, sample=None):
        """Number of events of a sample, or of all, as `prepare` counted them; EVENTS a sample before."""
        if self.merged(dataset):
            return sum(self.n_events(one) for one in self.merged(dataset))
        found = self._counted(dataset)
        rows, columns = self.dataset(dataset)["events"]["grid"] or (1, 1)
        chosen = [sample] if sample else self.samples(dataset)
        return sum(found[name]["events"] * rows * columns if name in found else EVENTS for name in chosen)

    def event_pixels(self, dataset):
        """Pixels of the largest event image of a dataset, all channels."""
        rows, columns = self.dataset(dataset)["events"]["grid"] or (1, 1)
        found = self._counted(dataset).values()
        largest = max((one["height"] * one["width"] for one in found), default=EVENT_PIXELS)
        return largest // (rows * columns) * len(self.channels(dataset))

    def has_images(self, dataset):
        """Whether a dataset starts from images (and not only from tables that exist already)."""
        return bool(self.dataset(dataset).get("plates")) or self.simulated(dataset)

    def simulated(self, dataset):
        """Whether a rule makes the images."""
        return bool(self.dataset(dataset).get("simulate"))

    def indexed_by_jobs(self):
        """Datasets whose images jobs index, since `prepare` has not: what it wrote are plain files to the DAG."""
        return [name for name in self.image_datasets() if not self._found(name)]

    def channels(self, dataset):
        """Channel names, in the config's order."""
        return list(self.dataset(dataset).get("channels") or {})

    def plates(self, dataset):
        """Encoded names of the plates of a dataset, in the order of its table."""
        return list(self._counts(dataset))

    def excluded(self, dataset):
        """Names, as the study gives them, of the plates that it leaves out."""
        return self.dataset(dataset).get("exclude_plates") or []

    def plate_row(self, dataset, plate):
        """(batch, plate, images, platemap) of one plate; the images of a simulated one lie in the results."""
        return self._plate_rows(dataset)[plate]

    def batches(self, dataset, plate):
        """Identifiers of the batches of sites of a plate: 0001, 0002, ..."""
        return [batches.batch_name(number) for number in range(1, len(self._counts(dataset)[plate]) + 1)]

    def sites(self, dataset, plate, batch):
        """(well, site) pairs of one batch of a plate whose geometry is declared."""
        return self._declared(dataset)[plate][int(batch) - 1]

    def n_sites(self, dataset, plate, batch=None):
        """Number of sites of a plate or of one of its batches."""
        counts = self._counts(dataset)[plate]
        return sum(counts) if batch is None else counts[int(batch) - 1]

    def image_shape(self, dataset, plate=None):
        """(height, width) of the images of a plate (or of the first) in pixels: from the index where there is one, else
        as declared.
        """
        plates = self._found(dataset)
        found = plates.get(plate) or next(iter(plates.values()), None)
        block = self.dataset(dataset)
        declared = found or block.get("simulate") or block.get("geometry") or {}
        return int(declared.get("height") or 1080), int(declared.get("width") or 1080)

    def megapixels(self, dataset):
        """Size of one image plane in millions of pixels."""
        height, width = self.image_shape(dataset)
        return height * width / 1e6

    def pipeline(self, dataset):
        """The completed CellProfiler block of a dataset, or None."""
        return (self.dataset(dataset).get("features") or {}).get("cellprofiler")

    @_once
    def seconds_per_site(self, dataset):
        """CPU seconds that the pipeline takes per site: as configured, else as measured, else a default."""
        return batches.seconds_per_site(self.pipeline(dataset), f"{self.results}/{dataset}")

    @_once
    def batch_size(self, dataset):
        """Sites per job."""
        return geometry.batch_size(self.dataset(dataset), f"{self.results}/{dataset}")

    def illuminated(self, dataset):
        """Channels with a function, estimated or declared; with method none it is flat, made only if asked for."""
        block = self.dataset(dataset).get("illumination") or {"method": "none"}
        return [] if block["method"] == "none" else self.channels(dataset)

    def frozen(self, dataset):
        """Pattern of the paths of illumination functions that the study declares; None where they are estimated."""
        return (self.dataset(dataset).get("illumination") or {}).get("functions")

    def representations(self, dataset):
        """Names of the representations of a dataset: computed ones first, then those that entered as tables."""
        if self.merged(dataset):
            return ["classical"]
        if dataset in self.event_datasets():
            computed = ["classical"] if self.dataset(dataset)["features"].get("classical") is not None else []
        else:
            computed = ["cellprofiler"] if self.has_images(dataset) and self.pipeline(dataset) else []
        return computed + self.learned(dataset) + list(self.dataset(dataset).get("representations") or {})

    def entered(self, dataset, representation):
        """Whether a representation is a table that existed already."""
        return representation in (self.dataset(dataset).get("representations") or {})

    def level(self, dataset, representation):
        """Level of the units that a representation starts with: cells, sites, wells or treatments."""
        if representation in self.learned(dataset):
            return "sites" if self.tensor(self.model_of(representation)[0])["items"] == "fields" else "cells"
        if not self.entered(dataset, representation):
            return "cells"
        block = self.dataset(dataset)["representations"][representation]
        return "cells" if block.get("folders") or block.get("simulate") else block["level"]

    def units(self, dataset, representation):
        """Plates (or samples) of a representation, one table each; the pseudo plate `all` for tables that entered."""
        if dataset in self.event_datasets() and not self.entered(dataset, representation):
            return self.samples(dataset)
        if self.merged(dataset):
            return ["all"]
        return ["all"] if self.entered(dataset, representation) else self.plates(dataset)

    def models(self, dataset=None):
        """Names of the models, of one dataset or all, in the config's order."""
        return [name for name, block in self.config["models"].items() if dataset in (None, block["dataset"])]

    def model(self, model):
        """The completed block of one model."""
        return self.config["models"][model]

    def trained(self, model):
        """Whether a model is trained here."""
        return self.model(model)["kind"] != "pretrained"

    def starts_from(self, model):
        """The model of the study whose weights a model starts from, or None."""
        given = self.model(model).get("weights")
        return given if given in self.config["models"] else None

    def tensors(self, items):
        """Names of the tensors of `fields` or `crops` of all datasets of wells."""
        blocks = [self.dataset(dataset)["tensors"] for dataset in self.plate_datasets()]
        return sorted({name for block in blocks for name, one in block.items() if one["items"] == items})

    def tensor(self, model):
        """The completed block of the tensor that a model reads."""
        block = self.model(model)
        return self.dataset(block["dataset"])["tensors"][block["tensor"]]

    def tensor_channels(self, dataset, tensor):
        """Channels that a tensor stores."""
        return self.dataset(dataset)["tensors"][tensor]["channels"] or self.channels(dataset)

    def model_channels(self, model):
        """Channels that a model sees."""
        block = self.model(model)
        return block["channels"] or self.tensor_channels(block["dataset"], block["tensor"])

    def parts(self, model):
        """Networks of a model, in the order in which their embeddings stand: its channels, or `all` in one."""
        return self.model_channels(model) if self.model(model).get("per_channel") else ["all"]

    def learned(self, dataset):
        """Names of the representations that models of a dataset make: the model's own, and one per snapshot."""
        return plan.learned(self.config["models"], dataset)

    def model_of(self, representation):
        """(model, epoch) of a learned representation; the epoch is None for the model as it ended."""
        for model in self.models():
            if representation == model:
                return model, None
            for epoch in self.model(model).get("snapshots", []):
                if representation == plan.snapshot_name(model, epoch):
                    return model, epoch
        return None

    def profiles(self):
        """Names of the profile chains."""
        return list(self.config["profiles"])

    def combinations(self):
        """(dataset, representation, profile) for everything that is profiled."""
        return [
            (dataset, representation, profile)
            for dataset in self.plate_datasets()
            for representation in self.representations(dataset)
            for profile in self.profiles_of(dataset, representation)
        ]

    def profiles_of(self, dataset, representation):
        """Names of the chains that a representation goes through."""
        chains = self.config["profiles" if dataset in self.plate_datasets() else "cell_profiles"]
        return plan.chains_of(dataset, representation, chains, self.config["profiles_of"])

    def cell_combinations(self):
        """(dataset, representation, profile) for every profile of single cells."""
        return [
            (dataset, representation, profile)
            for dataset in self.datasets()
            if dataset not in self.plate_datasets()
            for representation in self.representations(dataset)
            for profile in self.profiles_of(dataset, representation)
        ]

    def evaluations(self):
        """(evaluation, dataset, representation, profile) for every row of the evaluation table."""
        blocks = self.config["evaluation"]
        of_cells = {name: block for name, block in blocks.items() if block["level"] == "cells"}
        of_wells = {name: block for name, block in blocks.items() if name not in of_cells}
        found = plan.combinations(of_wells, self.combinations())
        found += plan.combinations(of_cells, self.cell_combinations())
        order = list(blocks)
        return sorted(found, key=lambda item: order.index(item[0]))

    @_once
    def _samples(self, dataset):
        """Encoded sample -> its row of the table of samples."""
        block = self.dataset(dataset)
        if not block.get("samples"):
            return {}
        return {
            encode(row["sample"]): row
            for row in samples.sample_rows(block["samples"], block["events"]["format"], dataset)
        }

    @_once
    def _counted(self, dataset):
        """What `prepare` found of each sample: encoded sample -> {events, height, width, ...}; empty before it ran."""
        return geometry.read_summary(f"{self.results}/{dataset}/manifests/summary.json")

    @_once
    def _plate_rows(self, dataset):
        """Encoded plate -> its row, of the plates that are not left out."""
        block, without = self.dataset(dataset), self.excluded(dataset)
        if not self.simulated(dataset):
            rows = geometry.read_plates(block["plates"], dataset, without)
            return {encode(plate): (batch, plate, *rest) for batch, plate, *rest in rows}
        batch_of = {plate: batch for batch, plate in design.plates(block["simulate"])}
        return {
            encode(plate): (batch_of[plate], plate, f"{self.results}/{dataset}/images/{encode(plate)}", "")
            for plate in geometry.kept_plates(list(batch_of), without, dataset)
        }

    @_once
    def _found(self, dataset):
        """What `prepare` found on disk: plate -> {sites: [n per batch], width, height, ...}; empty before it ran."""
        path = f"{self.results}/{dataset}/index/summary.json"
        return {} if self.simulated(dataset) else geometry.read_summary(path)

    @_once
    def _declared(self, dataset):
        """Encoded plate -> batches of (well, site) pairs, from the simulator's design or the declared geometry."""
        block = self.dataset(dataset)
        if self.simulated(dataset):
            sites = design.sites(block["simulate"])
        elif block.get("geometry"):
            sites = geometry.sites(block["geometry"])
        else:
            raise InputError(
                f"the images of dataset {dataset} are not indexed yet: run `make prepare STUDY=...` "
                "(or `python -m phenoloom prepare CONFIG`) first, or declare the dataset's geometry"
            )
        return dict.fromkeys(self._plate_rows(dataset), batches.assign(sites, self.batch_size(dataset)))

    @_once
    def _counts(self, dataset):
        """Encoded plate -> number of sites of each batch."""
        if not self.has_images(dataset):
            return {}
        found = self._found(dataset)
        if found:
            excluded = set(map(encode, self.excluded(dataset)))
            return {plate: block["sites"] for plate, block in found.items() if plate not in excluded}
        return {plate: [len(batch) for batch in split] for plate, split in self._declared(dataset).items()}
