"""Measure what the jobs of every rule take, and write the rates that `python -m phenoloom plan` goes by.

    python benchmarks/rates.py [--repeats 2] [--cores 2] [--folder FOLDER] [--output resources/rates.tsv] [--add]

Runs six studies of its own, all of them simulated: images of two sizes and channel counts, tables of two sizes with
every metric, events of a sorter in two numbers. Each is run `repeats` times and the quickest time of each job counts,
so that other work on the machine matters less. Two sizes give the fixed part of a rate and that per unit of work. Some
three quarters of an hour on two cores. Run it in the main environment (`make env`) on a machine that does nothing else;
with --add the studies of cells only, whose rates are added to those that are there.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.optimize import nnls

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.config.loading import read_config  # noqa: E402
from phenoloom.config.study import Study  # noqa: E402
from phenoloom.core.files import write_text  # noqa: E402
from phenoloom.core.wells import FORMATS, well_name  # noqa: E402
from phenoloom.planning import jobs, rates  # noqa: E402
from phenoloom.planning.work import RULES, Work, rule_of  # noqa: E402
from phenoloom.record.events import read_runs  # noqa: E402
from phenoloom.record.jobs import read_benchmarks  # noqa: E402
from phenoloom.simulate.sorter import write_run  # noqa: E402

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]
BRIGHTFIELD = {name: {"kind": "brightfield"} for name in ("BF1", "BF2", "BF3")}
PROFILE = [
    {"aggregate": {"operation": "median"}},
    {"normalize": {"method": "mad_robustize", "samples": "all", "by": "plate"}},
    {"feature_select": {"operations": ["variance_threshold", "correlation_threshold", "drop_na_columns"]}},
]
METRICS = {
    "replicates": {"metric": "mean_average_precision", "positives": "Treatment"},
    "moa": {"metric": "mean_average_precision", "positives": "MoA", "level": "treatments"},
    "nsc": {"metric": "nsc"},
    "nscb": {"metric": "nscb"},
    "replicating": {"metric": "percent_replicating"},
    "matching": {"metric": "percent_matching"},
    "activity": {"metric": "activity"},
    "controls": {"metric": "control_separation"},
    "doses": {"metric": "dose_response", "min_doses": 2},
}


def simulated(name, plates, wells, side, brightfield):
    """Config of a study whose images are made."""
    channels = {**{channel: {} for channel in CHANNELS}, **(BRIGHTFIELD if brightfield else {})}
    design = {"batches": 1, "plates_per_batch": plates, "wells": wells, "width": side, "height": side}
    design |= {"channels": list(channels), "inactive_compounds": 1, "negative_controls": 2, "positive_controls": 0}
    dataset = {
        "simulate": {**design, "mechanisms": ["nuclear size"], "concentrations": [1, 10]},
        "channels": channels,
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        "illumination": {"method": "median", "downsample": 4, "filter_size": 80},
        "features": {
            "cellprofiler": {
                "pipeline": str(ROOT / "resources/pipelines/cell_painting_demo.cppipe"),
                "minutes_per_job": 0.5,
                "masks": ["Nuclei", "Cells"],
            }
        },
    }
    evaluation = {"replicates": METRICS["replicates"]}
    return {"study": name, "datasets": {"plates": dataset}, "profiles": {"default": PROFILE}, "evaluation": evaluation}


def tables(name, plates, cells):
    """Config of a study of tables that exist: wells of 96-well plates, and cells of its first plate."""
    wells = {"table": f"{name}_wells.csv", "level": "wells"}
    controls = {"controls": {"negative": ["DMSO"], "positive": ["compound 1"]}}
    single = {"table": f"{name}_cells.csv", "level": "cells"}
    evaluation = {key: {**options, "of": ["tables/published/*"]} for key, options in METRICS.items()}
    write_profiles(Path(wells["table"]), plates, 600)
    write_profiles(Path(single["table"]), 1, 100, cells)
    representations = {"published": {**wells, **controls}, "single": {**single, **controls}}
    dataset = {"representations": representations}
    return {"study": name, "datasets": {"tables": dataset}, "profiles": {"default": PROFILE}, "evaluation": evaluation}


def cells(name, events):
    """Config of a study of single cells: two simulated runs of a sorter and both together, with every metric."""
    scaled = [{"split": {"hold_out": "cells"}}, {"scale": {"method": "standard"}}, {"pca": {"n": 30}}]
    learned = {method: [*scaled, {"metric": {"method": method, "n": 10}}] for method in ("nca", "lmnn", "mlkr", "lfda")}
    datasets = {}
    for number, dataset in enumerate(("one", "two")):
        sample = f"{name}_{dataset}"
        write_run(Path(sample), sample, events, seed=number)
        row = {"sample": sample, "images": f"{sample}/images", "fcs": f"{sample}/{sample}.fcs"}
        pd.DataFrame([{**row, "events": f"{sample}/{sample}_classes.csv"}]).to_csv(
            f"{sample}.tsv", sep="\t", index=False
        )
        datasets[dataset] = {
            "assay": "cytometry",
            "samples": f"{sample}.tsv",
            "channels": {source.removesuffix("-A"): {"source": source} for source in ("DNA-A", "Bodies-A", "FSC-A")},
            "events": {"format": "sorter", "pattern": "*_{event}.tiff", "labels": {"Label": "Class"}},
            "features": {"classical": {}},
        }
    datasets["both"] = {"assay": "cytometry", "merge": {"datasets": ["one", "two"]}}
    return {
        "study": name,
        "datasets": datasets,
        "cell_profiles": {"none": scaled, **learned},
        "evaluation": {
            "clusters": {"metric": "clusters", "level": "cells"},
            "held_out": {"metric": "held_out_accuracy", "level": "cells"},
        },
    }


def write_profiles(path, plates, features, cells=1):
    """A table of random features for wells of 96-well plates, `cells` rows a well; treatments in two concentrations."""
    rows, columns = FORMATS[96]
    names = [well_name(row, column) for row in range(rows) for column in range(columns)]
    frame = pd.DataFrame(
        [(f"P{plate:02d}", well, number) for plate in range(plates) for number, well in enumerate(names)],
        columns=["Metadata_Plate", "Metadata_Well", "number"],
    )
    compound = frame["number"] % 24 + 24 * (frame["Metadata_Plate"].str[1:].astype(int) // 4)
    control = frame["number"] % 24 == 0
    frame["Metadata_Perturbation"] = np.where(control, "DMSO", "compound " + compound.astype(str))
    frame["Metadata_Concentration"] = np.where(control, 0, 1 + frame["number"] // 24 % 2)
    frame["Metadata_MoA"] = np.where(control, "", "mechanism " + (compound % 12).astype(str))
    frame["Metadata_Batch"] = "batch" + (frame["Metadata_Plate"].str[1:].astype(int) % 2).astype(str)
    frame = frame.drop(columns="number").loc[lambda table: table.index.repeat(cells)].reset_index(drop=True)
    if cells > 1:
        frame["Metadata_ObjectNumber"] = frame.groupby("Metadata_Well").cumcount() + 1
    values = np.random.default_rng(0).normal(size=(len(frame), features)).astype(np.float32)
    named = pd.DataFrame(values, columns=[f"Cells_Intensity_Feature_{number:04d}" for number in range(features)])
    pd.concat([frame, named], axis=1).to_csv(path, index=False, float_format="%.5f")


def run(config, repeats, cores):
    """Run a study; return [(Job, Done)], the least of every quantity over the repeats."""
    path = Path(f"{config['study']}.yaml")
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    images = [block for block in config["datasets"].values() if "cellprofiler" in block.get("features", {})]
    if images:
        command("rate", path, "--sites", "3")
    events = Study(read_config(path), f"results/{config['study']}")
    lists = [
        f"{events.results}/{dataset}/manifests/{sample}.parquet"
        for dataset in events.event_datasets()
        for sample in events.samples(dataset)
    ]
    if lists:  # by jobs, before `run` lists them itself
        snakemake = ["--snakefile", ROOT / "Snakefile", "--configfile", path, "--cores", cores, "--quiet", "all"]
        command(*lists, *snakemake, module="snakemake")
    least = {}
    for repeat in range(repeats):
        again = ["--forceall"] if repeat else []
        command("run", path, "all", "--cores", str(cores), "--quiet", "all", *again)
        results = f"results/{config['study']}"
        for job, took in jobs.done(read_runs(results), read_benchmarks(f"{results}/benchmarks")):
            before = least.get(job.benchmark, (job, took))[1]
            least[job.benchmark] = job, jobs.Done(*map(smaller, before, took))
    return list(least.values())


def smaller(one, other):
    known = [value for value in (one, other) if value is not None]
    return min(known) if known else None


def command(*arguments, module="phenoloom"):
    """Run a command of phenoloom, or Snakemake, in the working directory; its output goes to standard error."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "workflow/lib")}
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True, env=environment, stdout=sys.stderr)


def points(config, done):
    """{(kind, quantity, unit): [(units, value)]} of what the jobs of a study took."""
    work = Work(Study(config, f"results/{config['study']}"))
    found = {}
    for job, took in done:
        kind, rule = work.kind(job), rule_of(job)
        known = RULES.get(kind) or RULES.get(rule)
        if known is None:
            sys.exit(f"planning.work.RULES does not know the rule {rule}; add its stage and units")
        for quantity in rates.QUANTITIES:
            unit = known.disk if quantity == "disk_mb" else known.time
            units, value = work.units(job, unit), getattr(took, quantity)
            if units is not None and value is not None:
                found.setdefault((kind, quantity, unit), []).append((units, value))
    return found


def fit(pairs, unit):
    """(fixed, per unit), neither below 0, with the least relative errors. pairs: (units, value)."""
    units, values = np.array(pairs, float).T
    if unit == "pipeline second":  # a second by definition; what is left is the start of CellProfiler
        return max(0.0, float(np.median(values - units))), 1.0
    weights = 1 / np.maximum(values, max(1e-6, 0.01 * values.max()))
    if np.ptp(units) == 0:
        return float(np.average(values)), 0.0
    scale = units.max()  # so that both columns are of one size
    columns = np.column_stack([np.ones(len(units)), units / scale])
    (fixed, slope), _ = nnls(columns * weights[:, None], values * weights)
    return float(fixed), float(slope / scale)


def as_table(found, about):
    """The file of rates as text. found: {(kind, quantity, unit): [(units, value)]}."""
    lines = [*(f"# {line}" for line in about), "kind\tquantity\tunit\tfixed\tper_unit\tsmallest\tlargest\tjobs"]
    order = list(RULES)
    for (kind, quantity, unit), pairs in sorted(
        found.items(), key=lambda item: (order.index(_rule(item[0][0])), item[0][0])
    ):
        fixed, slope = fit(pairs, unit)
        units = [number for number, _ in pairs]
        numbers = "\t".join(f"{value:.4g}" for value in (fixed, slope, min(units), max(units)))
        lines.append(f"{kind}\t{quantity}\t{unit}\t{numbers}\t{len(pairs)}")
    return "\n".join(lines) + "\n"


def added(path, found, about):
    """The file of rates with those that it lacks, each at its place."""
    before = path.read_text(encoding="utf-8").splitlines()
    kinds = {line.split("\t")[0] for line in before if not line.startswith("#")}
    new = as_table({key: pairs for key, pairs in found.items() if key[0] not in kinds}, about[-1:]).splitlines()
    comments = [line for line in before + new if line.startswith("#")]
    header, *rows = [line for line in before if not line.startswith("#")]
    rows += [line for line in new if not line.startswith("#") and line != header]
    order = list(RULES)
    rows.sort(key=lambda line: (order.index(_rule(line.split("\t")[0])), line.split("\t")[0]))
    return "\n".join([*dict.fromkeys(comments), header, *rows]) + "\n"


def _rule(kind):
    return kind if kind in RULES else kind.split()[0]


def processor():
    """Model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="work here and leave the studies (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=rates.SHIPPED)
    parser.add_argument(
        "--add", action="store_true", help="run the studies of cells only; add the rates that are not there"
    )
    given = parser.parse_args()
    output = given.output.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        for linked in ("resources", "profiles", "workflow"):
            if not Path(linked).exists():
                Path(linked).symlink_to(ROOT / linked)
        studies = (
            []
            if given.add
            else [
                simulated("small", plates=2, wells=6, side=256, brightfield=False),
                simulated("large", plates=3, wells=12, side=768, brightfield=True),
                tables("few", plates=3, cells=10),
                tables("many", plates=24, cells=200),
            ]
        )
        studies += [cells("fewer", events=150), cells("more", events=900)]
        found = {}
        for config in studies:
            done = run(config, given.repeats, given.cores)
            for key, pairs in points(read_config(f"{config['study']}.yaml"), done).items():
                found.setdefault(key, []).extend(pairs)
    about = [
        f"measured by benchmarks/rates.py on {given.cores} cores of {processor()}, {datetime.date.today()}:",
        "simulated plates of 256 x 256 x 5 and 768 x 768 x 8 pixels, tables of 288 and 2,304 wells,",
        "simulated sorter runs of 150 and 900 events.",
    ]
    write_text(output, added(output, found, about) if given.add else as_table(found, about))
    print(output)


if __name__ == "__main__":
    main()
