"""Memory of single rules on generated inputs of a chosen size, each run by Snakemake as in a study.

    python benchmarks/memory_stages.py images --pixels 2160 --channels 8     # quality, illumination, their figures
    python benchmarks/memory_stages.py simulated --pixels 1080               # simulate, cellprofiler, cells, montage
    python benchmarks/memory_stages.py cells --cells 300000 --features 1500  # cells, aggregate
    python benchmarks/memory_stages.py entering --cells 300000 --features 1500  # enter, aggregate
    python benchmarks/memory_stages.py wells --plates 48 --features 3000     # profile, evaluate, maps, report
    python benchmarks/memory_stages.py files --images 17280                  # index, plate_index, preflight

Writes the inputs of these rules into a temporary folder (--folder says where; `wells` needs some 5 GB) and prints the
table of benchmarks/memory.py. Values are random, the forms those that the earlier rules write.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import memory
import numpy as np
import pandas as pd
import tifffile
import yaml

ROOT = memory.ROOT
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from aggregation import write_cells  # noqa: E402

from phenoloom.cellprofiler import batches, storage  # noqa: E402
from phenoloom.core.ledger import Ledger  # noqa: E402
from phenoloom.core.tables import INDEX_SCHEMA, write_arrow, write_table  # noqa: E402
from phenoloom.core.wells import FORMATS, well_name  # noqa: E402
from phenoloom.profiles.dropped import Dropped  # noqa: E402
from phenoloom.profiles.storage import write_double  # noqa: E402
from phenoloom.quality.flags import summarize_sites  # noqa: E402
from phenoloom.quality.measures import MEASURES  # noqa: E402
from phenoloom.report.gallery import Gallery  # noqa: E402

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito", "BF1", "BF2", "BF3")
DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
#: One of a hundred units fails somewhere, so that ledgers are not empty.
FAILING = 100


class Screen:
    """A study of one dataset whose index is given: `prepare` has run, images need not exist."""

    def __init__(self, folder, plates=1, wells=384, sites=9, channels=5, pixels=1080, dtype="uint16", **more):
        self.folder, self.sites, self.channels = folder, sites, CHANNELS[:channels]
        self.pixels, self.dtype = pixels, dtype
        self.results = folder / "results/screen"
        self.plates = [f"P{number:03d}" for number in range(1, plates + 1)]
        rows, columns = FORMATS[wells]
        self.wells = [well_name(row, column) for row in range(rows) for column in range(columns)]
        self.random = np.random.default_rng(1)
        self.config = {
            "study": "screen",
            "datasets": {
                "d": {
                    "plates": "plates.tsv",
                    "channels": {name: {} for name in self.channels},
                    "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
                    "illumination": {"method": "median"},
                }
            },
            "profiles": DEMO["profiles"],
            "evaluation": {},
            **more,
        }

    def write(self):
        """Config, tables of plates and wells, and the counts that `prepare` leaves."""
        for name in ("config", "resources", "profiles", "workflow"):
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / "screen.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        lines = [
            f"b{number % 6}\t{plate}\timages/{plate}\tmap{number // 6 % 8}.tsv\n"
            for number, plate in enumerate(self.plates)
        ]
        (self.folder / "plates.tsv").write_text("batch\tplate\timages\tplatemap\n" + "".join(lines), encoding="utf-8")
        for number in range(8):
            self.layout(number).to_csv(self.folder / f"map{number}.tsv", sep="\t", index=False)
        pairs = [(well, site) for well in self.wells for site in range(1, self.sites + 1)]
        self.batches = batches.assign(pairs, batches.DEFAULT_SIZE)
        found = {
            plate: {"sites": [len(batch) for batch in self.batches], "batch": "b", "dtype": self.dtype}
            | {"width": self.pixels, "height": self.pixels}
            for plate in self.plates
        }
        (self.results / "d/index").mkdir(parents=True)
        (self.results / "d/index/summary.json").write_text(json.dumps(found), encoding="utf-8")

    def layout(self, number):
        """Map of a plate: 32 wells of DMSO, the others 4 concentrations of compounds, each of one of 20 mechanisms."""
        rows = []
        for place, well in enumerate(self.wells):
            control, compound = place % 12 == 0, number * len(self.wells) // 4 + place // 4
            name = "DMSO" if control else f"compound {compound}"
            moa = "" if control else f"mechanism {compound % 20}"
            dose = "" if control else 10.0 ** (place % 4 - 1)
            rows.append((well, name, dose, "" if control else "uM", moa, "negative" if control else ""))
        return pd.DataFrame(rows, columns=["well", "perturbation", "concentration", "unit", "moa", "control"])

    def run(self, target, *rules):
        """Rows of memory.watch of these rules alone, all else being there."""
        return run_snakemake(self.folder, [*target.split(), "--rerun-triggers", "mtime", "--allowed-rules", *rules])

    def write_index(self, path_of):
        """Index, manifests' ledgers and quality of every plate. path_of(plate, channel, site): file of an image."""
        for number, plate in enumerate(self.plates):
            rows = [
                ("d", f"b{number % 6}", plate, well, site, channel, str(path_of(plate, channel, site)), 0)
                + (self.pixels, self.pixels, self.dtype, 2 * self.pixels**2, f"{number:032x}")
                for well in self.wells
                for site in range(1, self.sites + 1)
                for channel in self.channels
            ]
            index = pd.DataFrame(rows, columns=INDEX_SCHEMA.names)
            index = index.astype({name: np.int32 for name in ("site", "page", "width", "height")})
            folder = self.results / "d/index"
            write_arrow(folder / f"{plate}.parquet", index)
            for batch, sites in enumerate(self.batches, start=1):
                self.ledger(folder / plate / f"{batch:04d}.ledger.parquet", "index", plate, sites)
            self.write_quality(plate, index)

    def write_quality(self, plate, index):
        """Quality of the images of a plate and its ledger."""
        frame = index[["batch", "plate", "well", "site", "channel"]]
        frame = frame.set_axis([f"Metadata_{name.capitalize()}" for name in frame], axis=1)
        for name in MEASURES:
            frame[f"Quality_{name}"] = self.random.normal(size=len(frame)).astype(np.float32)
        frame["Metadata_Flags"] = np.where(np.arange(len(frame)) % FAILING, "", "out_of_focus")
        ledger = Ledger("quality", dataset="d", plate=plate)
        folder = self.results / "d/quality"
        write_table(folder / f"{plate}.parquet", frame)
        write_table(folder / f"{plate}.sites.parquet", summarize_sites(frame, ledger))
        self.ledger(folder / f"{plate}.ledger.parquet", "quality", plate)

    def ledger(self, path, stage, plate, sites=None):
        """A ledger with a row for one of a hundred sites."""
        ledger = Ledger(stage, dataset="d", plate=plate)
        sites = [(well, 1) for well in self.wells] if sites is None else sites
        for well, site in sites[::FAILING]:
            ledger.rows.append(
                {"dataset": "d", "plate": plate, "well": well, "site": str(site), "channel": "DNA", "unit": "image"}
                | {"stage": stage, "severity": "flagged", "count": 1, "reason": f"{path} is odd"}
            )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        ledger.write(path)


def write_functions(screen):
    """One illumination function, linked as that of every plate and channel."""
    one = screen.folder / "function.npy"
    np.save(one, screen.random.uniform(1, 2, (screen.pixels, screen.pixels)).astype(np.float32))
    for plate in screen.plates:
        folder = screen.results / f"d/illumination/{plate}"
        folder.mkdir(parents=True)
        for channel in screen.channels:
            os.link(one, folder / f"{channel}.npy")
            (folder / f"{channel}.png").touch()
        screen.ledger(f"{folder}.ledger.parquet", "illumination", plate)


def images(folder, given):
    """Quality, illumination and montage of large images; the sites of a channel share two files."""
    screen = Screen(
        folder, wells=given.wells, sites=given.sites, channels=given.channels, pixels=given.pixels, dtype=given.dtype
    )
    screen.write()
    for channel in screen.channels:
        for number in (0, 1):
            image = screen.random.normal(500, 100, (given.pixels, given.pixels)).clip(0, 65535).astype(given.dtype)
            tifffile.imwrite(folder / f"{channel}{number}.tif", image, photometric="minisblack")
    screen.write_index(lambda plate, channel, site: folder / f"{channel}{site % 2}.tif")
    for path in (screen.results / "d/quality").iterdir():
        path.unlink()
    rules = "quality", "illumination_d", "figure_illumination", "figure_montage", "layout"
    target = "results/screen/figures/d/illumination results/screen/figures/d/montage"
    return screen.run(target, *rules)


def simulated(folder, given):
    """The demo's rules up to the montage on larger images: 2 plates of 6 wells."""
    block = {"batches": 1, "plates_per_batch": 2, "wells": 6, "width": given.pixels, "height": given.pixels}
    block |= {"mechanisms": ["nuclear size"], "compounds_per_batch": 1, "inactive_compounds": 1}
    block |= {"concentrations": [1, 10], "negative_controls": 2, "positive_controls": 0}
    config = json.loads(json.dumps({**DEMO, "study": "screen", "evaluation": {}}))
    config["datasets"]["plates1"]["simulate"] = block
    for name in ("config", "resources", "profiles", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "screen.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return run_snakemake(folder, ["results/screen/figures/plates1/montage"])


def run_snakemake(folder, arguments):
    """Rows of memory.watch of Snakemake on screen.yaml in `folder`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *arguments]
    command += ["--configfile", "screen.yaml", "--workflow-profile", "profiles/default", "--quiet", "all"]
    return memory.watch(command, folder, folder / "results/screen")


def cells(folder, given):
    """The cells of one plate from the measurements of its batches."""
    pipeline = {"pipeline": str(ROOT / "resources/pipelines/cell_painting.cppipe"), "seconds_per_site": 60}
    screen = Screen(folder)
    screen.config["datasets"]["d"]["features"] = {"cellprofiler": {**pipeline, "minutes_per_job": given.minutes}}
    screen.write()
    size = batches.batch_size(given.minutes, 60)
    screen.batches = batches.assign([(w, s) for w in screen.wells for s in range(1, screen.sites + 1)], size)
    summary = screen.results / "d/index/summary.json"
    found = json.loads(summary.read_text())
    found["P001"]["sites"] = [len(batch) for batch in screen.batches]
    summary.write_text(json.dumps(found))
    screen.write_index(lambda plate, channel, site: folder / "none.tif")
    per_site = given.cells // (len(screen.wells) * screen.sites)
    out = screen.results / "d/cellprofiler/P001"
    out.mkdir(parents=True)
    for number, batch in enumerate(screen.batches, start=1):
        write_batch(out / f"{number:04d}.h5", batch, per_site, given.features, screen.random)
        (out / f"{number:04d}.ledger.jsonl").touch()
    target = "results/screen/d/profiles/cellprofiler/default/wells/P001.parquet"
    return screen.run(target, "cells", "aggregate")


def write_batch(path, sites, per_site, features, random):
    """Measurements of a batch: per_site cells a site, three compartments with a third of the features each."""
    with tempfile.TemporaryDirectory() as scratch:
        numbered = []
        for number, (well, site) in enumerate(sites, start=1):
            objects = {}
            for name in ("Cells", "Cytoplasm", "Nuclei"):
                values = random.normal(size=(features // 3, per_site)).astype(np.float32)
                objects[name] = {f"Texture_Feature_{column:04d}": row for column, row in enumerate(values)}
                objects[name]["Number_Object_Number"] = np.arange(1.0, per_site + 1)
            for parent in ("Cells", "Nuclei"):
                objects["Cytoplasm"][f"Parent_{parent}"] = np.arange(1.0, per_site + 1)
            storage.write_site(scratch, number, {"Count_Cells": per_site}, objects, {})
            place = {"dataset": "d", "batch": "b0", "plate": "P001", "well": well, "site": site}
            numbered.append({"number": number, **place})
        storage.join_sites(path, scratch, numbered, {})


def entering(folder, given):
    """A table of cells and one of wells that enter, as Parquet and as compressed CSV."""
    write_cells(folder / "cells.parquet", given.cells, given.features)
    rows = given.plates * 384
    frame = pd.DataFrame(
        np.random.default_rng(1).normal(size=(rows, given.features)),
        columns=[f"Cells_Feature_{number:04d}" for number in range(given.features)],
    )
    place = pd.DataFrame({"Metadata_Plate": [f"P{row // 384:03d}" for row in range(rows)]})
    place["Metadata_Well"] = [well_name(row % 384 // 24, row % 24) for row in range(rows)]
    place["Metadata_Perturbation"] = [f"compound {row % 384 // 4}" for row in range(rows)]
    frame = pd.concat([place, frame], axis=1)
    frame.to_parquet(folder / "wells.parquet")
    frame.to_csv(folder / "wells.csv.gz", index=False, float_format="%.7g")
    representations = {
        "cells": {"table": "cells.parquet", "level": "cells"},
        "wells": {"table": "wells.parquet", "level": "wells"},
        "text": {"table": "wells.csv.gz", "level": "wells"},
    }
    screen = Screen(folder)
    screen.config["datasets"] = {"d": {"representations": representations}}
    screen.config["profiles"] = {"raw": DEMO["profiles"]["raw"]}
    screen.write()
    done = {"cells": "wells/all", "wells": "wells", "text": "wells"}  # the cells have no perturbation
    target = " ".join(f"results/screen/d/profiles/{name}/raw/{table}.parquet" for name, table in done.items())
    return screen.run(target, "enter", "aggregate", "profile")


def wells(folder, given):
    """Everything from the wells of all plates to the report."""
    pipeline = {"pipeline": str(ROOT / "resources/pipelines/cell_painting.cppipe"), "seconds_per_site": 36}
    evaluation = {
        name: {key: value for key, value in block.items() if key not in ("of", "features")}
        for name, block in DEMO["evaluation"].items()
    }
    evaluation["controls"] = {"metric": "control_separation", "features": ["Cells_Feature_0001"], "of": ["*/raw"]}
    evaluation["doses"] = {"metric": "dose_response", "features": ["Cells_Feature_0001"], "of": ["*/raw"]}
    for block in evaluation.values():
        block.setdefault("of", ["*/default"])
    screen = Screen(folder, plates=given.plates, evaluation=evaluation)
    screen.config["datasets"]["d"]["features"] = {"cellprofiler": {**pipeline, "minutes_per_job": 30}}
    screen.write()
    screen.write_index(lambda plate, channel, site: folder / f"images/{plate}/{channel}_s{site}.tif")
    write_functions(screen)
    names = [f"Cells_Feature_{number:04d}" for number in range(given.features)]
    chains = screen.results / "d/profiles/cellprofiler"
    for number, plate in enumerate(screen.plates):
        frame = wells_of_plate(screen, number, plate, names)
        ledger = screen.results / f"d/representations/cellprofiler/cells/{plate}.ledger.parquet"
        screen.ledger(ledger, "cells", plate)
        places = [(plate, well, site) for well in screen.wells for site in range(1, screen.sites + 1)]
        columns = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
        write_table(ledger.with_name(f"{plate}.images.parquet"), pd.DataFrame(places, columns=columns))
        for chain in screen.config["profiles"]:
            path = chains / f"{chain}/wells/{plate}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_double(path, frame)
            Dropped().write(path.with_suffix(".dropped.parquet"))
            screen.ledger(path.with_suffix(".ledger.parquet"), "aggregate", plate)
    Gallery(screen.results / "figures/d/montage").write()
    rules = "layout profile evaluate evaluation_table dataset_summary figure_plate_heatmaps figure_illumination"
    rules += " figure_umap figure_evaluation ledger run_times figure_run_times report"
    return screen.run("results/screen/report.html", *rules.split())


def wells_of_plate(screen, number, plate, names):
    """Wells of a plate with random features around a value of each well's compound."""
    layout = screen.layout(number // 6 % 8)
    frame = layout.rename(columns=lambda name: f"Metadata_{'MoA' if name == 'moa' else name.capitalize()}")
    frame["Metadata_Concentration"] = pd.to_numeric(frame["Metadata_Concentration"])
    frame.insert(0, "Metadata_Batch", f"b{number % 6}")
    frame.insert(1, "Metadata_Plate", plate)
    frame["Metadata_Count_Cells"] = 800
    frame["Metadata_Count_Sites"] = screen.sites
    values = 10 + screen.random.standard_normal((len(frame), len(names)))
    return pd.concat([frame, pd.DataFrame(values, columns=names)], axis=1)


def files(folder, given):
    """Index of one plate of many small files before `prepare` has run, and preflight."""
    screen = Screen(folder, sites=given.images // (384 * 5))
    screen.config["datasets"]["d"]["geometry"] = {"wells": 384, "sites": screen.sites, "width": 64, "height": 64}
    screen.write()
    (screen.results / "d/index/summary.json").unlink()
    (folder / "images/P001").mkdir(parents=True)
    image = np.zeros((64, 64), np.uint16)
    for well in screen.wells:
        for site in range(1, screen.sites + 1):
            for channel in screen.channels:
                path = folder / f"images/P001/{well}_s{site}_{channel}.tif"
                tifffile.imwrite(path, image, photometric="minisblack", metadata=None)
    target = "results/screen/preflight.passed results/screen/d/index/P001.parquet"
    return screen.run(target, "index", "plate_index", "preflight")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="what", required=True)
    arguments = {
        images: {"pixels": 2160, "channels": 8, "wells": 96, "sites": 1, "dtype": "uint16"},
        simulated: {"pixels": 1080},
        cells: {"cells": 300_000, "features": 1500, "minutes": 60},
        entering: {"cells": 300_000, "features": 1500, "plates": 12},
        wells: {"plates": 48, "features": 3000},
        files: {"images": 17_280},
    }
    for function, defaults in arguments.items():
        command = commands.add_parser(function.__name__, help=function.__doc__.split("\n", 1)[0])
        command.set_defaults(function=function)
        for name, value in defaults.items():
            command.add_argument(f"--{name}", type=type(value), default=value)
        command.add_argument("--every", action="store_true", help="print every job, not one per rule")
        command.add_argument("--folder", help="where to make the inputs; the system's temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        jobs = given.function(Path(folder), given)
    memory.show(jobs, memory.snakemake_mb(), given.every)


if __name__ == "__main__":
    main()
