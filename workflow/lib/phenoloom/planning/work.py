"""How much a job has to do, in units that are known before it runs: images, wells, seconds of the pipeline."""

import functools
import os
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as parquet

from phenoloom.cellprofiler import batches
from phenoloom.core.errors import InputError
from phenoloom.ingest import geometry, layouts
from phenoloom.metric_learning.chain import parse
from phenoloom.planning import operations


class Rule(NamedTuple):
    """Stage of a rule, and the units that its time and what it writes grow with."""

    stage: str
    time: str
    disk: str


#: Every rule that the shipped rates know. An evaluation has a rate per metric, a cell profile one per learned metric.
RULES = {
    "simulate": Rule("simulate", "image megapixel", "image megapixel"),
    "simulation_truth": Rule("simulate", "well", "well"),
    "index": Rule("ingest", "image megapixel", "image"),
    "plate_index": Rule("ingest", "image", "image"),
    "layout": Rule("ingest", "well", "well"),
    "quality": Rule("quality", "image megapixel", "image"),
    "illumination": Rule("illumination", "image megapixel", "function megapixel"),
    "cellprofiler": Rule("features", "pipeline second", "image megapixel"),
    "cells": Rule("features", "image megapixel", "image megapixel"),
    "manifest": Rule("ingest", "event", "event"),
    "events": Rule("ingest", "event", "event"),
    "crop_features": Rule("features", "event", "event"),
    "merge_features": Rule("features", "event", "event"),
    "cell_profile": Rule("profiles", "event", "event"),
    **{f"cell_profile {method}": Rule("profiles", "event", "event") for method in ("nca", "lmnn", "mlkr", "lfda")},
    "anndata": Rule("profiles", "cell profile of an event", "cell profile of an event"),
    "tensor_fields": Rule("tensors", "image megapixel", "image megapixel"),
    "tensor_crops": Rule("tensors", "image megapixel", "image megapixel"),
    "tensor_events": Rule("tensors", "event", "event"),
    "split": Rule("training", "item", "item"),
    "adopt": Rule("training", "model", "model"),
    "train": Rule("training", "training teraflop", "model"),
    "embed": Rule("embeddings", "embedding teraflop", "item"),
    "enter": Rule("profiles", "MB of tables", "MB of tables"),
    "aggregate": Rule("profiles", "image megapixel", "well"),
    "aggregate of tables": Rule("profiles", "MB of tables", "MB of tables"),
    "tvn": Rule("profiles", "well", "well"),
    "cell_sets": Rule("profiles", "well", "well"),
    "deep_sets": Rule("profiles", "well", "well"),
    "aggregate_learned": Rule("profiles", "well", "well"),
    "relevance": Rule("profiles", "well", "well"),
    "profile": Rule("profiles", "well", "well"),
    "evaluate": Rule("evaluation", "million pairs", "well"),
    "evaluate clusters": Rule("evaluation", "event", "event"),
    "evaluate held_out_accuracy": Rule("evaluation", "event", "event"),
    "evaluation_table": Rule("evaluation", "evaluation", "evaluation"),
    "aggregation_scores": Rule("evaluation", "well", "well"),
    "comparison": Rule("evaluation", "evaluation", "evaluation"),
    "dataset_summary": Rule("report", "image", "well"),
    "sample_summary": Rule("report", "event", "event"),
    "figure_cells": Rule("report", "cell profile of an event", "cell profile of an event"),
    "over_training": Rule("report", "evaluation", "evaluation"),
    "figure_training": Rule("report", "model", "model"),
    "figure_attention": Rule("report", "model", "model"),
    "figure_plate_heatmaps": Rule("report", "plate", "plate"),
    "figure_illumination": Rule("report", "function megapixel", "plate"),
    "figure_montage": Rule("report", "field megapixel", "field megapixel"),
    "figure_aggregation": Rule("report", "well", "well"),
    "figure_umap": Rule("report", "well", "well"),
    "figure_relevance": Rule("report", "well", "well"),
    "figure_evaluation": Rule("report", "evaluation", "evaluation"),
    "figure_run_times": Rule("report", "batch", "batch"),
    "ledger": Rule("report", "batch", "batch"),
    "run_times": Rule("report", "batch", "batch"),
    "report": Rule("report", "plate", "plate"),
}

#: Rules of which there is one per dataset or per model, by the beginning of their names.
_SEVERAL = ("illumination", "train")

#: Units that only jobs on images have.
_OF_IMAGES = ("plate", "batch", "image", "image megapixel", "field megapixel", "function megapixel")


def rule_of(job):
    """Name of a job's rule as the tables show it."""
    return next((name for name in _SEVERAL if job.rule.startswith(f"{name}_")), job.rule)


def _model(job):
    """Name of the model that a job makes or splits items for, None for other jobs."""
    return job.rule.removeprefix("train_") if rule_of(job) == "train" else job.wildcards.get("model")


def stage_of(rule):
    """Stage of a rule, "" for one that is not known."""
    return RULES[rule].stage if rule in RULES else ""


class Work:
    """Units of the jobs of a study, from its index where there is one, else from what its config declares."""

    def __init__(self, study):
        """study: config.study.Study."""
        self.study = study
        self._units = {
            "job": lambda job: 1,
            "evaluation": lambda job: len(study.evaluations()),
            "model": lambda job: 1,
            "item": self._items,
            "training teraflop": self._training,
            "embedding teraflop": self._embedding,
            "plate": lambda job: sum(len(study.plates(name)) for name in self._datasets(job)),
            "batch": self._batches,
            "image": lambda job: self._images(job, lambda dataset: 1),
            "image megapixel": lambda job: self._images(job, study.megapixels),
            "field megapixel": lambda job: sum(map(self._field_megapixels, self._datasets(job))),
            "function megapixel": self._function_megapixels,
            "pipeline second": self._pipeline_seconds,
            "MB of tables": self._tables_mb,
            "well": self._wells,
            "event": self._events,
            "cell profile of an event": lambda job: self._events(job) * len(study.config["cell_profiles"]),
            "million pairs": self._pairs,
        }

    def units(self, job, unit):
        """Number of units of a job (float), None where it cannot be known yet. Raises KeyError for no such unit."""
        if unit in _OF_IMAGES and not self._datasets(job):
            return None
        return self._units[unit](job)

    def holds(self, job):
        """Whether the study still has what a job is of: its dataset, plate, batch, representation and evaluation."""
        study, wildcards, dataset = self.study, job.wildcards, self._dataset(job)
        if _model(job) not in (None, *study.models()):
            return False
        if wildcards.get("evaluation") not in (None, *study.config["evaluation"]):
            return False
        if dataset is None:
            return True
        if dataset not in study.datasets():
            return False
        representation, plate, batch = (wildcards.get(name) for name in ("representation", "plate", "batch"))
        if representation not in (None, *study.representations(dataset)):
            return False
        if wildcards.get("sample") not in (None, *study.samples(dataset)):
            return False
        if rule_of(job) == "cell_profile" and wildcards.get("profile") not in study.config["cell_profiles"]:
            return False
        plates = study.units(dataset, representation) if representation else study.plates(dataset)
        return plate is None or plate in plates and (batch is None or batch in study.batches(dataset, plate))

    def kind(self, job):
        """Name under which the rate of a job is kept: its rule, the metric of an evaluation added."""
        rule = rule_of(job)
        if rule == "evaluate":
            options = self.study.config["evaluation"].get(job.wildcards.get("evaluation")) or {}
            return f"evaluate {options.get('metric')}"
        if rule == "cell_profile":
            steps = dict(parse(self.study.config["cell_profiles"].get(job.wildcards.get("profile")) or []))
            method = steps.get("metric", {}).get("method", "none")
            return rule if method == "none" else f"{rule} {method}"
        if rule == "aggregate" and self._entered(job):
            return "aggregate of tables"
        return rule

    def _dataset(self, job):
        """Name of the dataset that a job is of, None for a job of the whole study, or of a model that is no more."""
        if rule_of(job) == "train":
            return self.study.config["models"].get(_model(job), {}).get("dataset")
        if rule_of(job) == "illumination":
            return job.rule.removeprefix("illumination_")
        return job.wildcards.get("dataset")

    def _datasets(self, job):
        """The dataset that a job is of, if it has images; all such datasets for a job of the whole study."""
        name, images = self._dataset(job), self.study.image_datasets()
        return images if name is None else [name] if name in images else []

    def _plates(self, job, dataset):
        plate = job.wildcards.get("plate")
        return self.study.plates(dataset) if plate is None else [plate]

    def _sites(self, job, dataset):
        batch = job.wildcards.get("batch")
        return sum(self.study.n_sites(dataset, plate, batch) for plate in self._plates(job, dataset))

    def _images(self, job, size):
        """Images of a job, each counted as `size(dataset)`."""
        return sum(self._sites(job, name) * len(self.study.channels(name)) * size(name) for name in self._datasets(job))

    def _batches(self, job):
        return sum(
            len(self.study.batches(name, plate)) for name in self._datasets(job) for plate in self._plates(job, name)
        )

    def _site_megapixels(self, dataset):
        return len(self.study.channels(dataset)) * self.study.megapixels(dataset)

    def _field_megapixels(self, dataset):
        """Pixels of the fields that the montage shows."""
        options = self.study.config["report"]["montage"]
        shown = min(options["perturbations"], self._distinct(dataset, ("Perturbation",)))
        return options["per"] * shown * self._site_megapixels(dataset)

    def _function_megapixels(self, job):
        """Pixels of illumination functions: one per plate and channel."""
        return sum(len(self._plates(job, name)) * self._site_megapixels(name) for name in self._datasets(job))

    def _pipeline_seconds(self, job):
        dataset = job.wildcards["dataset"]
        return self._sites(job, dataset) * self.study.seconds_per_site(dataset)

    def pipeline_source(self, job):
        """Where the seconds that CellProfiler takes per site come from."""
        study, dataset = self.study, job.wildcards["dataset"]
        seconds = study.seconds_per_site(dataset)
        if study.pipeline(dataset)["seconds_per_site"] is not None:
            return f"config: {seconds:g} s a site"
        if batches.read_rate(f"{study.results}/{dataset}"):
            return f"make rate: {seconds:g} s a site"
        return f"guess: {seconds:g} s a site"

    def _entered(self, job):
        dataset, representation = job.wildcards.get("dataset"), job.wildcards.get("representation")
        return representation is not None and self.study.entered(dataset, representation)

    def _tables_mb(self, job):
        return self._source_mb(job.wildcards["dataset"], job.wildcards["representation"])

    @functools.cache  # noqa: B019 - lives as long as the command
    def _source_mb(self, dataset, representation):
        """MB of the files behind a representation that entered; None when some are not there."""
        from phenoloom.profiles import sources
        from phenoloom.simulate import heterogeneity

        block = self.study.dataset(dataset)["representations"][representation]
        if block.get("simulate"):
            return heterogeneity.megabytes(block["simulate"])
        try:
            paths = sources.files(block)
            return sum(os.path.getsize(path) for path in paths) / 1e6
        except (InputError, OSError):
            return None

    def _wells(self, job):
        """Wells of a job; those of a representation that entered are known once it did."""
        if self._entered(job):
            return self._entered_rows(job, "wells")
        datasets = self._datasets(job)
        if not datasets:
            return None
        plates = {name: len(self._plates(job, name)) / max(1, len(self.study.plates(name))) for name in datasets}
        return sum(self._wells_of(name) * share for name, share in plates.items())

    @functools.cache  # noqa: B019
    def _wells_of(self, dataset):
        """Wells of all plates of a dataset: as many as are laid out, declared and have a site, whichever are fewest."""
        plates, block = self.study.plates(dataset), self.study.dataset(dataset)
        known = [sum(self.study.n_sites(dataset, plate) for plate in plates), len(self._layout(dataset))]
        if block.get("geometry"):
            known.append(len(plates) * len({well for well, _ in geometry.sites(block["geometry"])}))
        return min(filter(None, known), default=0)

    def _events(self, job):
        """Events of a job: of its sample, its dataset, or of all; those that maps leave out count too."""
        study, dataset = self.study, self._dataset(job)
        if dataset is None:
            return sum(map(study.n_events, study.event_datasets()))
        return study.n_events(dataset, job.wildcards.get("sample"))

    def _items(self, job):
        """Items of the tensor behind a job of a model: as many as are stored, else as its images let expect."""
        model = _model(job) or self.study.model_of(job.wildcards["representation"])[0]
        dataset, tensor = self.study.model(model)["dataset"], self.study.model(model)["tensor"]
        unit = job.wildcards.get("plate")
        events = dataset in self.study.event_datasets()
        units = [unit] if unit else self.study.samples(dataset) if events else self.study.plates(dataset)
        return sum(self._items_of(dataset, tensor, one) for one in units)

    @functools.cache  # noqa: B019
    def _items_of(self, dataset, tensor, unit):
        stored = _rows(f"{self.study.results}/{dataset}/tensors/{tensor}/{unit}.items.parquet")
        if stored is not None:
            return stored
        if dataset in self.study.event_datasets():
            return self.study.n_events(dataset, unit)
        block = self.study.dataset(dataset)
        per_site = operations.items_per_site(block, block["tensors"][tensor], self.study.image_shape(dataset))
        return per_site * self.study.n_sites(dataset, unit)

    def _training(self, job):
        return self._items(job) * operations.training(self.study.model(_model(job)))

    def _embedding(self, job):
        model, _ = self.study.model_of(job.wildcards["representation"])
        size = self.study.tensor(model)["size"] or operations.SIZE
        channels = len(self.study.model_channels(model))
        return self._items(job) * operations.embedding(self.study.model(model), size, channels)

    def _entered_rows(self, job, level):
        """Profiles of a representation that entered, from the tables that are there already; else None."""
        dataset, name = job.wildcards["dataset"], job.wildcards["representation"]
        folder, own = f"{self.study.results}/{dataset}", self.study.level(dataset, name)
        profile = job.wildcards.get("profile")
        rows = _rows(f"{folder}/profiles/{name}/{profile}/{level}.parquet")
        if rows is None and own in ("wells", "treatments"):
            rows = _rows(f"{folder}/representations/{name}/{own}/all.parquet")
        return rows

    def _pairs(self, job):
        """Millions of pairs of the profiles that an evaluation compares."""
        options = self.study.config["evaluation"][job.wildcards["evaluation"]]
        level, dataset = options.get("level", "wells"), job.wildcards["dataset"]
        if self._entered(job):
            number = self._entered_rows(job, level)
        else:
            folder = f"{self.study.results}/{dataset}/profiles/{job.wildcards['representation']}"
            number = _rows(f"{folder}/{job.wildcards['profile']}/{level}.parquet")
            if number is None:
                number = self._distinct(dataset) if level == "treatments" else self._wells(job)
        return None if number is None else number**2 / 1e6

    def _distinct(self, dataset, names=("Perturbation", "Concentration")):
        """Treatments (or perturbations) of a dataset; at most its wells."""
        layout, wells = self._layout(dataset), self._wells_of(dataset)
        columns = [f"Metadata_{name}" for name in names if f"Metadata_{name}" in layout]
        return min(wells, len(layout[columns].drop_duplicates())) if columns else wells

    @functools.cache  # noqa: B019
    def _layout(self, dataset):
        """DataFrame of what is laid out in all plates, one row a well; empty where the plate maps cannot be read."""
        path, block = f"{self.study.results}/{dataset}/layout.parquet", self.study.dataset(dataset)
        try:
            if self.study.simulated(dataset):
                from phenoloom.simulate import design

                return design.design(block["simulate"]).rename(columns=lambda name: f"Metadata_{name.capitalize()}")
            if _rows(path):
                return parquet.read_table(path).to_pandas()
            return layouts.read_layout(block, dataset)
        except InputError:
            return pd.DataFrame()


def _rows(path):
    """Rows of a Parquet table, None where there is none yet."""
    try:
        return parquet.read_metadata(path).num_rows
    except (OSError, ValueError):
        return None
