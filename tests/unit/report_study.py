"""A made-up study on disk for the tests of figures and report: the tables of all stages, hostile names included."""

import importlib.util
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import tifffile
import yaml

from phenoloom.core.ledger import Ledger
from phenoloom.core.names import encode
from phenoloom.core.tables import INDEX_SCHEMA, read_table, write_arrow, write_table
from phenoloom.core.wells import FORMATS, well_name
from phenoloom.evaluation.comparison import COLUMNS as DIFFERENCE_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
REPRESENTATIONS = {"plates1": "cellprofiler", "screen": "entered", "nothing": "entered"}
HOSTILE = 'x"; rm -rf ~ #<script>alert(1)</script>'
MOAS = ["Actin disruptor", "DNA damage", "Microtubule 'stabiliser'", "mTOR $\\inhibitor$", "Протеасома <b>"]


def perturbations(n=15):
    """Names with their mechanism; the first is hostile, one is in Greek."""
    names = [HOSTILE, "β-ionone/α & Co.", *(f"compound {number}" for number in range(1, n - 1))]
    return [(name, MOAS[number % len(MOAS)]) for number, name in enumerate(names)]


def layout(plates, shape=24, n=15, seed=0):
    """Plate maps: controls in the first column and the last well, compounds at several doses elsewhere."""
    rng = np.random.default_rng(seed)
    rows, columns = FORMATS.get(shape, (1, shape))
    known = perturbations(n)
    found = []
    for number, plate in enumerate(plates):
        for place in rng.permutation(rows * columns):
            row, column = divmod(int(place), columns)
            compound, moa = known[(place + 7 * number) % len(known)]
            well = {
                "Metadata_Batch": f"batch {number // 2 + 1}",
                "Metadata_Plate": plate,
                "Metadata_Well": well_name(row, column),
                "Metadata_Perturbation": compound,
                "Metadata_Concentration": float(10.0 ** (place % 5 - 2)),
                "Metadata_Unit": "µM",
                "Metadata_Control": "",
                "Metadata_MoA": moa,
            }
            if column == 0:
                well |= {"Metadata_Perturbation": "DMSO", "Metadata_Control": "negative", "Metadata_MoA": ""}
                well["Metadata_Concentration"] = np.nan
            if (row, column) == (rows - 1, columns - 1):
                well |= {"Metadata_Perturbation": "taxol", "Metadata_Control": "positive"}
            found.append(well)
    return pd.DataFrame(found).sort_values(["Metadata_Plate", "Metadata_Well"]).reset_index(drop=True)


def profiles(wells, n_features=24, seed=0):
    """Well profiles in which mechanisms, doses and, a little, plates can be told apart."""
    rng = np.random.default_rng(seed)
    moas = {name: rng.normal(size=n_features) * 3 for name in sorted(set(wells["Metadata_MoA"]))}
    plates = {name: rng.normal(size=n_features) * 0.5 for name in sorted(set(wells["Metadata_Plate"]))}
    values = rng.normal(size=(len(wells), n_features))
    for line, row in enumerate(wells.itertuples()):
        if row.Metadata_Control != "negative":
            strength = np.clip(np.log10(row.Metadata_Concentration) / 4 + 0.6, 0, 1)
            values[line] += moas[row.Metadata_MoA] * strength
        values[line] += plates[row.Metadata_Plate]
    names = [f"Nuclei_Texture_{number}" for number in range(n_features - 2)]
    names += ["Nuclei_AreaShape_Area", "Cells_Intensity_MeanIntensity_ER"]
    features = pd.DataFrame(values.astype(np.float32), columns=names[:n_features], index=wells.index)
    cells = (40 + 30 * rng.random(len(wells))).astype(int)
    return pd.concat([wells.assign(Metadata_Count_Cells=cells), features], axis=1)


def cells_image(rng, size, bright):
    """(image, labels): round nuclei on a vignetted background, 16 bit."""
    rows, columns = np.mgrid[:size, :size]
    image = np.full((size, size), 300.0)
    labels = np.zeros((size, size), np.uint16)
    for number in range(1, 13):
        y, x, radius = rng.uniform(8, size - 8), rng.uniform(8, size - 8), rng.uniform(5, 10)
        distance = np.hypot(rows - y, columns - x)
        image += bright * np.exp(-((distance / radius) ** 4))
        labels[(distance < radius) & (labels == 0)] = number
    image *= vignette(size)
    return (image + rng.normal(0, 20, image.shape)).clip(0, 65535).astype(np.uint16), labels


def vignette(size):
    """The illumination function of all channels."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    return (1.5 - rows**2 * 2 - columns**2).astype(np.float32)


def write_images(root, dataset, wells, channels, sites=2, size=96, seed=1):
    """Index, TIFF images, illumination functions, qualities of a dataset; one image is cut short."""
    rng = np.random.default_rng(seed)
    folder = root / dataset
    for plate, own in wells.groupby("Metadata_Plate"):
        rows = []
        for well in own.itertuples():
            for site in range(1, sites + 1):
                for channel in channels:
                    path = root / "raw" / encode(plate) / f"{well.Metadata_Well}_s{site}_{channel}.tif"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image, _ = cells_image(rng, size, 3000 if well.Metadata_Control else 5000)
                    tifffile.imwrite(path, image)
                    rows.append(
                        {
                            "dataset": dataset,
                            "batch": well.Metadata_Batch,
                            "plate": plate,
                            "well": well.Metadata_Well,
                            "site": site,
                            "channel": channel,
                            "path": str(path),
                            "page": 0,
                            "width": size,
                            "height": size,
                            "dtype": "uint16",
                            "size": path.stat().st_size,
                            "digest": "",
                        }
                    )
        index = pd.DataFrame(rows, columns=INDEX_SCHEMA.names)
        write_arrow(folder / "index" / f"{encode(plate)}.parquet", index)
        for channel in channels:
            target = folder / "illumination" / encode(plate) / f"{channel}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, vignette(size), allow_pickle=False)
        write_quality(folder, encode(plate), index, rng)


def write_quality(folder, plate, index, rng):
    """Image and site qualities of one plate; the first site is excluded."""
    renamed = {name: f"Metadata_{name.capitalize()}" for name in ("batch", "plate", "well", "site", "channel")}
    images = index[list(renamed)].rename(columns=renamed)
    images["Quality_PowerLogLogSlope"] = rng.normal(-2, 0.2, len(images)).astype(np.float32)
    images["Quality_Background"] = rng.uniform(0.01, 0.02, len(images)).astype(np.float32)
    images["Quality_PercentSaturated"] = np.float32(np.nan)
    images["Metadata_Flags"] = np.where(np.arange(len(images)) % 17 == 0, "out_of_focus", "")
    sites = images.drop_duplicates(["Metadata_Plate", "Metadata_Well", "Metadata_Site"])
    sites = sites[["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Flags"]]
    sites = sites.assign(Metadata_Excluded=np.arange(len(sites)) == 0)
    write_arrow(folder / "quality" / f"{plate}.parquet", images)
    write_arrow(folder / "quality" / f"{plate}.sites.parquet", sites)
    measured = sites[~sites["Metadata_Excluded"]][["Metadata_Plate", "Metadata_Well", "Metadata_Site"]]
    cells = folder / "representations" / "cellprofiler" / "cells"
    write_arrow(cells / f"{plate}.images.parquet", measured.reset_index(drop=True))


def write_profiles(root, dataset, representation, table, plates, dropped=True):
    """Wells per plate, profiles of wells and treatments, and what was dropped."""
    folder = root / dataset / "profiles" / representation / "default"
    for unit in plates:
        own = table if unit == "all" else table[table["Metadata_Plate"].map(encode) == unit]
        write_table(folder / "wells" / f"{unit}.parquet", own.reset_index(drop=True))
    keep = [name for name in table.columns if name != "Cells_Intensity_MeanIntensity_ER"]
    write_table(folder / "wells.parquet", table[keep], {"versions": {"pycytominer": "1.7.1"}})
    write_table(folder / "treatments.parquet", table[keep].head(12))
    rows = [("feature", "Cells_Intensity_MeanIntensity_ER", "", "feature_select", "variance threshold <&>", 1)]
    rows += [("cell", "", plate, "filter", "touches the border", 123) for plate in plates]
    names = ["kind", "name", "plate", "step", "reason", "count"]
    write_arrow(folder / "dropped.parquet", pd.DataFrame(rows if dropped else [], columns=names))


SCORE_COLUMNS = ["dataset", "representation", "profile", "evaluation", "metric", "level", "label", "value"]
SCORE_COLUMNS += ["low", "high", "null", "pvalue", "n", "note"]


def scores(dataset, representation="cellprofiler"):
    """A small evaluation table with a value on another scale and one without a value."""
    where = (dataset, representation, "default")
    unknown = (np.nan, np.nan, np.nan, np.nan)
    kinds = ["mean_average_precision", "nsc", "control_separation", "dose_response"]
    precision, nsc, separation, dose = [(*where, name, name, "wells") for name in kinds]
    rows = [
        (*precision, "mean average precision", 0.61, 0.52, 0.7, 0.22, 0.001, 15, ""),
        (*nsc, "accuracy", 0.82, 0.71, 0.93, 0.2, 0.001, 40, "33 of 40"),
        (*separation, "Z' of Nuclei_AreaShape_Area", -1.4, *unknown, 20, ""),
        (*dose, "share monotone", np.nan, *unknown, 0, f"no doses of {HOSTILE}"),
        *((*dose, f"Area of compound {number}: rho", 0.5, 0.1, 0.8, 0.0, 0.2, 9, "") for number in range(30)),
    ]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def differences(dataset, reference=("cellprofiler", "default")):
    """A small table of comparisons: better, worse, without units in common, hostile."""
    rows = [
        ("map", "mean average precision", "dino", "tvn", 0.66, 0.61, 0.05, 0.01, 0.09, 15, ""),
        ("nsc", "accuracy", "untrained", "tvn", 0.5, 0.75, -0.25, -0.4, -0.1, 40, "2 units only of the profile"),
        ("nsc", "accuracy", "few", "tvn", *[np.nan] * 5, 0, f"no unit of {HOSTILE}"),
    ]
    return pd.DataFrame(
        [
            (evaluation, evaluation, "wells", label, dataset, *profile, *reference, *numbers)
            for evaluation, label, *profile, numbers in ((*row[:4], row[4:]) for row in rows)
        ],
        columns=DIFFERENCE_COLUMNS,
    )


def precision_details(table, seed=0):
    """Details as mean_average_precision writes them."""
    rng = np.random.default_rng(seed)
    units = sorted(set(table["Metadata_Perturbation"]) - {"DMSO"})
    value = rng.uniform(0.1, 1, len(units))
    moas = table.drop_duplicates("Metadata_Perturbation").set_index("Metadata_Perturbation")["Metadata_MoA"]
    frame = pd.DataFrame({"unit": units, "n_profiles": 8, "n_queries": 8, "mean_average_precision": value})
    frame["qvalue"] = np.clip(1.05 - value, 1e-4, 1)
    frame["pvalue"] = frame["qvalue"] / 2
    frame["significant"] = frame["qvalue"] < 0.05
    frame["note"] = ""
    frame["Metadata_MoA"] = [moas[unit] for unit in units]
    frame.loc[0, ["mean_average_precision", "pvalue", "qvalue"]] = np.nan
    return frame


def neighbour_details(table, seed=0):
    """Details as nsc writes them."""
    rng = np.random.default_rng(seed)
    rows = table[table["Metadata_MoA"] != ""].head(60)
    labels = rows["Metadata_MoA"].to_numpy()
    found = np.where(rng.random(len(labels)) < 0.75, labels, rng.choice(MOAS, len(labels)))
    frame = pd.DataFrame({"unit": rows["Metadata_Perturbation"], "label": labels, "neighbour_label": found})
    return frame.assign(evaluated=np.arange(len(frame)) % 10 != 0, hit=labels == found).reset_index(drop=True)


def ledger_rows():
    """Ledger frame with repeated reasons and a hostile well."""
    book = Ledger("index", dataset="plates1", plate="Plate <1>")
    for number in range(60):
        book.add(f"raw/A{number:02d}_s1.tif is empty ({number} bytes); copy it again", well="A01", site=number)
    book.stage = "cellprofiler"
    book.add(f"CellProfiler failed on {HOSTILE}", severity="lost", unit="site", well="B02", site=3)
    book.add("'B03' looks odd", severity="flagged", unit="well", well="B03")
    return book


def gathered(**paths):
    """What Snakemake passes as input, output, params or wildcards: a list whose entries also have names."""
    return Named(paths)


class Named(list):
    """A list with names, as Snakemake's Namedlist."""

    def __init__(self, items):
        for name, value in items.items():
            setattr(self, name, value)
            self.extend(value) if isinstance(value, list) else self.append(value)
        self._items = dict(items)

    def get(self, name, default=None):
        """Entry by name."""
        return self._items.get(name, default)

    def items(self):
        """(name, entry) pairs."""
        return self._items.items()

    def __getitem__(self, key):
        return self._items[key] if isinstance(key, str) else super().__getitem__(key)


def run(script, log, **parts):
    """Run the main function of a workflow script as Snakemake would."""
    path = ROOT / "workflow" / "scripts" / f"{script}.py"
    spec = importlib.util.spec_from_file_location(f"script_{script}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    job = {name: gathered(**parts.get(name, {})) for name in ("input", "output", "params", "wildcards")}
    try:
        module.main(SimpleNamespace(rule=script, threads=1, log=[str(log)], **job))
    finally:
        logging.getLogger().handlers.clear()  # they write to the job's log, which is closed by now


def config(**report):
    """A config with the report's defaults, as the loader would complete it."""
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "report.schema.yaml").read_text(encoding="utf-8"))

    def filled(block):
        return {
            name: filled(part) if part.get("type") == "object" and "properties" in part else part["default"]
            for name, part in block["properties"].items()
        }

    return {"study": "made-up", "seed": 1, "coverage": 0.8, "report": {**filled(schema), **report}}


def build(root):
    """A small study with all its figures and its report below `root`; returns (folder of results, config).

    Three datasets: one with images, one of 384-well plates that entered, one without a single well.
    """
    results, log = root / "results", root / "log"
    settings = config(title=HOSTILE)
    channels = {"DNA": {"kind": "fluorescence"}, "ER": {"kind": "fluorescence"}, "BF1": {"kind": "brightfield"}}
    settings["datasets"] = {"plates1": {"channels": channels}, "screen": {}, "nothing": {}}
    settings["report"]["plates"]["features"] = ["Nuclei_AreaShape_Area", "Nuclei_AreaShape_Aera"]
    settings["evaluation"] = {"map": {"metric": "mean_average_precision"}, "nsc": {"metric": "nsc"}}
    wells = {
        "plates1": layout(["Plate <1>", "Plate 2"], 6, n=4),
        "screen": layout(["P10", "P9"], 384),
        "nothing": layout(["P"], 6).iloc[:0],
    }
    write_images(results, "plates1", wells["plates1"], list(channels))
    write_arrow(results / "plates1" / "layout.parquet", wells["plates1"])
    for dataset, layout_rows in wells.items():
        table = profiles(layout_rows) if len(layout_rows) else profiles(layout(["P"], 6)).iloc[:0]
        plates = [encode(plate) for plate in dict.fromkeys(layout_rows["Metadata_Plate"])]
        units = plates if dataset == "plates1" else ["all"]
        write_profiles(results, dataset, REPRESENTATIONS[dataset], table, units, dropped=bool(len(layout_rows)))
        _figures_of_dataset(log, results, settings, dataset, plates, units)
    table = profiles(wells["plates1"])
    write_arrow(results / "evaluation.parquet", scores("plates1"))
    write_arrow(results / "comparison.parquet", differences("plates1"))
    found = {"map": precision_details(table), "nsc": neighbour_details(table)}
    details = [f"{results}/evaluation/{name}/plates1/cellprofiler/default.parquet" for name in found]
    for path, frame in zip(details, found.values(), strict=True):
        write_arrow(path, frame)
    run(
        "figure_evaluation",
        log,
        input={
            "table": f"{results}/evaluation.parquet",
            "comparison": f"{results}/comparison.parquet",
            "details": details,
            "profiles": [],
        },
        output={"figures": f"{results}/figures/evaluation"},
        params={"evaluations": settings["evaluation"]},
    )
    ledger_rows().write(results / "one.ledger.parquet")
    Ledger("quality").write(results / "two.ledger.parquet")
    joined = [f"{results}/one.ledger.parquet", f"{results}/two.ledger.parquet"]
    ledger = {"ledger": f"{results}/ledger.parquet"}
    run("ledger", log, input={"ledgers": joined}, output=ledger, params={"excluded": {"plates1": ["P9"]}})
    write_benchmarks(results / "benchmarks")
    run(
        "run_times",
        log,
        output={"table": f"{results}/run_times.parquet"},
        params={"folder": f"{results}/benchmarks", "datasets": list(wells)},
    )
    run(
        "figure_run_times",
        log,
        input={"table": f"{results}/run_times.parquet"},
        output={"figures": f"{results}/figures/run_times"},
    )
    write_report(results, settings, results / "report.html", log)
    return results, settings


def write_report(results, settings, path, log):
    """Run the rule report on what `build` wrote."""
    figures, template = results / "figures", ROOT / "resources" / "report"
    names = list(settings["datasets"])
    profiled = [f"{results}/{name}/profiles/{REPRESENTATIONS[name]}/default" for name in names]
    run(
        "report",
        log,
        input={
            "plate_heatmaps": [f"{figures}/{name}/plate_heatmaps" for name in names],
            "illumination": [f"{figures}/plates1/illumination"],
            "montage": [f"{figures}/plates1/montage"],
            "maps": [f"{figures}/{name}/umap/{REPRESENTATIONS[name]}/default" for name in names],
            "evaluation": [f"{figures}/evaluation"],
            "run": [f"{figures}/run_times"],
            "plates": [f"{results}/{name}/summary/plates.parquet" for name in names],
            "counts": [f"{results}/{name}/summary/wells.parquet" for name in names],
            **{
                kind: [f"{folder}/{kind}.parquet" for folder in profiled] for kind in ("wells", "treatments", "dropped")
            },
            "scores": f"{results}/evaluation.parquet",
            "comparison": f"{results}/comparison.parquet",
            "ledger": f"{results}/ledger.parquet",
            "run_times": f"{results}/run_times.parquet",
            "template": f"{template}/report.html.j2",
            "environments": [f"{ROOT}/workflow/envs/report.yaml"],
        },
        output={"report": str(path)},
        params={"config": settings},
    )


def _figures_of_dataset(log, results, settings, dataset, plates, units):
    representation, chain = REPRESENTATIONS[dataset], "default"
    channels = settings["datasets"][dataset].get("channels", {})
    folder, figures = results / dataset, f"{results}/figures/{dataset}"
    summary = {name: f"{folder}/summary/{name}.parquet" for name in ("plates", "wells", "quality")}
    profile = f"{folder}/profiles/{representation}/{chain}"
    where = {"dataset": dataset}
    given = {"wells": [f"{profile}/wells/{unit}.parquet" for unit in units]}
    if channels:
        given["layout"] = f"{folder}/layout.parquet"
        given["index"] = [f"{folder}/index/{plate}.parquet" for plate in plates]
        given["quality"] = [f"{folder}/quality/{plate}.parquet" for plate in plates]
        given["sites"] = [f"{folder}/quality/{plate}.sites.parquet" for plate in plates]
        cells = folder / "representations" / "cellprofiler" / "cells"
        given["measured"] = [f"{cells}/{plate}.images.parquet" for plate in plates]
    options = settings["report"]
    features = {"features": options["plates"]["features"]}
    run("dataset_summary", log, input=given, output=summary, params=features, wildcards=where)
    jobs = {
        "plate_heatmaps": (
            {name: summary[name] for name in ("wells", "quality")},
            {"options": options["plates"], "channels": list(channels)},
        )
    }
    if channels:
        functions = [f"{folder}/illumination/{plate}/{channel}.npy" for plate in plates for channel in channels]
        jobs["illumination"] = ({"functions": functions}, {"channels": list(channels)})
        images = {name: given[name] for name in ("layout", "index", "sites")} | {"functions": functions}
        montage = {"options": options["montage"], "channels": channels, "n_plates": len(plates)}
        jobs["montage"] = (images, montage)
    for kind, (inputs, params) in jobs.items():
        output = {"figures": f"{figures}/{kind}"}
        run(f"figure_{kind}", log, input=inputs, output=output, params=params, wildcards=where)
    few = folder / "few.parquet"  # too few wells for UMAP, whose import takes too long for a fast test
    wells = read_table(f"{profile}/wells.parquet").head(4)
    write_table(few, wells)
    output = {"figures": f"{figures}/umap/{representation}/{chain}"}
    where = {"dataset": dataset, "representation": representation, "profile": chain}
    params = {"options": options["umap"], "seed": 1}
    run("figure_umap", log, input={"wells": str(few)}, output=output, params=params, wildcards=where)


def write_benchmarks(folder):
    """Benchmark tables as Snakemake writes them: per batch, per study, one job too short to measure, one cut off."""
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    rows = {
        "plates1/cellprofiler/P1/0001.tsv": "100.5\t0:01:40\t900.0\t-\t-\t880.0\t1\t1\t95.0\t95.0\n",
        "plates1/cellprofiler/P1/0002.tsv": "50.5\t0:00:50\t700.0\t-\t-\t680.0\t1\t1\t90.0\t45.0\n",
        "plates1/layout.tsv": "0.1\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA\n",
        "evaluation_table.tsv": "1.0\t0:00:01\t200.0\t-\t-\t190.0\t1\t1\t80.0\t0.8\n",
    }
    for name, row in rows.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + row, encoding="utf-8")
    (folder / "plates1" / "cut.tsv").write_text("", encoding="utf-8")
