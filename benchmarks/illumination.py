"""CPU time of illumination functions: phenoloom against CellProfiler, the same steps on the same images, in one run.

python benchmarks/illumination.py [--sites 12] [--channels 8] [--size 1080]

Steps as in JUMP's pipeline: Resize by 0.25, CorrectIlluminationCalculate (Regular, All: Across cycles, median filter of
20 pixels, rescale), Resize by 4, save as .npy. CPU time is user + system time of the whole processes, start-up and
imports included. phenoloom is measured as the workflow runs it: one job for all channels of a plate, with previews and
ledger. Peak memory is that of one channel, for few and for four times as many sites.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

ROOT = Path(__file__).resolve().parents[1]

JOB = """
import json, runpy, sys, types
spec = json.loads(sys.argv[1])

class Files(list):  # named items beside positions, as Snakemake's lists have
    def items(self):
        return vars(self).items()

inputs, outputs = Files([spec["index"], spec["quality"]]), Files()
inputs.index, inputs.quality = inputs
for name, suffix in (("functions", ".npy"), ("previews", ".png")):
    setattr(outputs, name, [f"{spec['folder']}/{channel}{suffix}" for channel in spec["channels"]])
outputs.ledger = f"{spec['folder']}/ledger.parquet"
job = types.SimpleNamespace(
    rule="illumination", input=inputs, output=outputs, log=[f"{spec['folder']}/illumination.log"],
    threads=spec["threads"], params=Files(), wildcards={"dataset": "d", "plate": "P"},
)
job.params.options, job.params.channels = spec["options"], spec["channels"]
runpy.run_path(spec["script"], init_globals={"snakemake": job}, run_name="__main__")
"""

INDEX_COLUMNS = ["dataset", "batch", "plate", "well", "site", "channel", "path", "page"] + [
    "width",
    "height",
    "dtype",
    "size",
    "digest",
]

#: Background of five fluorescent channels and three brightfield planes, in counts: medians of a real Opera Phenix
#: field (shared data `phenix_field`). CellProfiler's median filter takes longer on brighter images.
BACKGROUNDS = (560, 425, 4630, 327, 335, 11880, 11880, 11880)

OPTIONS = {"method": "median", "downsample": 4, "filter_by": "manual", "filter_size": 20, "rescale": True}


def write_images(folder, sites, channels, size):
    """Vignetted fields of bright blobs with noise as uncompressed 16-bit TIFF; returns index rows."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    light = 1 - 0.8 * ((y - 0.45) ** 2 + (x - 0.55) ** 2)
    rows = []
    for channel in range(1, channels + 1):
        background = BACKGROUNDS[(channel - 1) % len(BACKGROUNDS)]
        for site in range(1, sites + 1):
            cells = np.kron(rng.gamma(0.3, 2000, (size // 20 + 1, size // 20 + 1)), np.ones((20, 20)))[:size, :size]
            image = (rng.normal(background, 30, (size, size)) + cells) * light
            path = folder / f"A01_s{site}_C{channel}.tif"
            tifffile.imwrite(path, image.clip(0, 65535).astype(np.uint16), photometric="minisblack")
            rows.append(("d", "b", "P", "A01", site, f"C{channel}", str(path), 0, size, size, "uint16", 0, ""))
    return pd.DataFrame(rows, columns=INDEX_COLUMNS)


def keep_all(index):
    """Sites table of quality control that leaves nothing out."""
    sites = index[["plate", "well", "site"]].drop_duplicates()
    sites.columns = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    return sites.assign(Metadata_Excluded=False)


def measure(command, **options):
    """(CPU seconds, peak memory in MB) of a process and its children; ends the run with its words when it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed: {error.decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure_phenoloom(index_path, folder, channels, threads):
    quality_path = index_path.with_suffix(".sites.parquet")
    spec = {
        "index": str(index_path),
        "quality": str(quality_path),
        "folder": str(folder),
        "channels": channels,
        "threads": threads,
        "options": OPTIONS,
        "script": str(ROOT / "workflow/scripts/illumination.py"),
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/lib"), "OMP_NUM_THREADS": str(threads)}
    return measure([sys.executable, "-c", JOB, json.dumps(spec)], env=environment)


def module(name, revision, number, settings):
    head = f"{name}:[module_num:{number}|svn_version:'Unknown'|variable_revision_number:{revision}|show_window:False|"
    head += "notes:[]|batch_state:array([], dtype=uint8)|enabled:True|wants_pause:False]"
    return "\n".join([head, *(f"    {key}:{value}" for key, value in settings)]) + "\n"


def resize(source, target, factor):
    """Settings of CellProfiler's Resize."""
    return [
        ("Select the input image", source),
        ("Name the output image", target),
        ("Resizing method", "Resize by a fraction or multiple of the original size"),
        *((f"{axis} Resizing factor", factor) for axis in "XYZ"),
        ("Width (x) of the final image", 100),
        ("Height (y) of the final image", 100),
        ("# of planes (z) in the final image", 10),
        ("Interpolation method", "Bilinear"),
        ("Method to specify the dimensions", "Manual"),
        ("Select the image with the desired dimensions", "None"),
        ("Additional image count", 0),
    ]


def pipeline(folder, channels):
    """Text of the CellProfiler pipeline of the steps, each for all channels."""
    load = [
        ("Input data file location", f"Elsewhere...|{folder}"),
        ("Name of the file", "load_data.csv"),
        ("Load images based on this data?", "Yes"),
        ("Base image location", f"Elsewhere...|{folder}"),
        ("Process just a range of rows?", "No"),
        ("Rows to process", "1,100000"),
        ("Group images by metadata?", "No"),
        ("Select metadata tags for grouping", ""),
        ("Rescale intensities?", "Yes"),
    ]
    smooth = [
        ("Select how the illumination function is calculated", "Regular"),
        ("Dilate objects in the final averaged image?", "No"),
        ("Dilation radius", 1),
        ("Block size", 60),
        ("Rescale the illumination function?", "Yes"),
        ("Calculate function for each image individually, or based on all images?", "All: Across cycles"),
        ("Smoothing method", "Median Filter"),
        ("Method to calculate smoothing filter size", "Manually"),
        ("Approximate object diameter", 10),
        ("Smoothing filter size", OPTIONS["filter_size"]),
        ("Retain the averaged image?", "No"),
        ("Name the averaged image", "Average"),
        ("Retain the dilated image?", "No"),
        ("Name the dilated image", "Dilated"),
        ("Automatically calculate spline parameters?", "Yes"),
        ("Background mode", "auto"),
        ("Number of spline points", 5),
        ("Background threshold", 2.0),
        ("Image resampling factor", 2.0),
        ("Maximum number of iterations", 40),
        ("Residual value for convergence", 0.001),
    ]
    save = [
        ("Number of digits", 4),
        ("Append a suffix to the image file name?", "No"),
        ("Text to append to the image name", ""),
        ("Saved file format", "npy"),
        ("Output file location", "Default Output Folder|"),
        ("Image bit depth", "8-bit integer"),
        ("Overwrite existing files without warning?", "Yes"),
        ("When to save", "Last cycle"),
        ("Record the file and path information to the saved image?", "No"),
        ("Create subfolders in the output folder?", "No"),
        ("Base image folder", "Elsewhere...|"),
        ("How to save the series", "T (Time)"),
        ("Save with lossless compression?", "Yes"),
    ]
    blocks = [("LoadData", 6, load)]
    blocks += [("Resize", 5, resize(c, f"Small{c}", 1 / OPTIONS["downsample"])) for c in channels]
    for channel in channels:
        names = [("Select the input image", f"Small{channel}"), ("Name the output image", f"SmallIllum{channel}")]
        blocks.append(("CorrectIlluminationCalculate", 2, names + smooth))
    blocks += [("Resize", 5, resize(f"SmallIllum{c}", f"Illum{c}", OPTIONS["downsample"])) for c in channels]
    for channel in channels:
        names = [
            ("Select the type of image to save", "Image"),
            ("Select the image to save", f"Illum{channel}"),
            ("Select method for constructing file names", "Single name"),
            ("Select image name for file prefix", channel),
            ("Enter single file name", channel),
        ]
        blocks.append(("SaveImages", 16, names + save))
    head = "CellProfiler Pipeline: http://www.cellprofiler.org\nVersion:5\nDateRevision:428\nGitHash:\n"
    head += f"ModuleCount:{len(blocks)}\nHasImagePlaneDetails:False\n"
    modules = [module(name, revision, n, settings) for n, (name, revision, settings) in enumerate(blocks, start=1)]
    return "\n".join([head, *modules])


def measure_cellprofiler(index, folder, channels):
    """CPU seconds and peak memory of CellProfiler on the images of `index`; functions end in `folder`."""
    rows = []
    for site, images in index.groupby("site"):
        row = {"Metadata_Plate": "P", "Metadata_Well": "A01", "Metadata_Site": site}
        for image in images.itertuples():
            row[f"FileName_{image.channel}"] = Path(image.path).name
            row[f"PathName_{image.channel}"] = str(Path(image.path).parent)
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "load_data.csv", index=False)
    (folder / "illumination.cppipe").write_text(pipeline(folder, channels), encoding="utf-8")
    command = ["phenoloom-cellprofiler", "-m", "cellprofiler", "-c", "-r", "-p", str(folder / "illumination.cppipe")]
    return measure([*command, "-o", str(folder)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--size", type=int, default=1080, help="height and width in pixels")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many").mkdir()
        many = write_images(folder / "many", 4 * options.sites, 1, options.size)
        few = write_images(folder, options.sites, options.channels, options.size)
        channels = list(dict.fromkeys(few["channel"]))
        for name, index in (("many", many), ("few", few)):
            index.to_parquet(folder / f"{name}.parquet")
            keep_all(index).to_parquet(folder / f"{name}.sites.parquet")
        ours, theirs = folder / "ours", folder / "theirs"
        theirs.mkdir()
        together = measure_phenoloom(folder / "few.parquet", ours, channels, options.threads)
        one = measure_phenoloom(folder / "few.parquet", folder / "one", channels[:1], options.threads)
        more = measure_phenoloom(folder / "many.parquet", folder / "more", channels[:1], options.threads)
        cellprofiler = measure_cellprofiler(few, theirs, channels)
        distance = max(np.abs(np.load(ours / f"{c}.npy") / np.load(theirs / f"{c}.npy") - 1).max() for c in channels)
    print(f"{options.sites} sites x {options.channels} channels of {options.size}x{options.size} pixels, CPU seconds")
    print(f"  CellProfiler, one process      {cellprofiler[0]:8.2f}   peak {cellprofiler[1]:6.0f} MB")
    print(f"  phenoloom, one job a plate     {together[0]:8.2f}   {cellprofiler[0] / together[0]:6.1f} times less")
    for sites, (seconds, peak) in ((options.sites, one), (4 * options.sites, more)):
        print(f"  one channel of {sites} sites: {seconds:.2f} s, peak {peak:.0f} MB")
    print(f"largest relative difference of the functions: {distance:.2g}")


if __name__ == "__main__":
    main()
