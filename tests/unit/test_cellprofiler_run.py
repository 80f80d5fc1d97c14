"""CellProfiler itself, run on small images: failures per site, odd names, groups, pages, both kinds of pipelines."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellprofiler_runs import ROOT, draw_nuclei, launcher, run_script, write_index
from phenoloom.cellprofiler import pipeline as pipelines
from phenoloom.cellprofiler import runner
from phenoloom.cellprofiler.measurements import read_images, read_mask, read_objects, read_sites
from phenoloom.cellprofiler.plan import make_plan

pytestmark = pytest.mark.cellprofiler

TRANSLOCATION = ROOT / "resources" / "pipelines" / "translocation.cppipe"
ODD = "x\"; rm -rf ~ #<script> 100% β'"


def write_sites(folder, numbers, **options):
    """Images of len(numbers) sites with so many nuclei each, GFP equal to DNA. Returns sites for write_index."""
    sites = {}
    folder.mkdir(parents=True, exist_ok=True)
    for place, number in enumerate(numbers, start=1):
        image = draw_nuclei(number)
        path = folder / f"s{place}_DNA.tif"
        tifffile.imwrite(path, image, photometric="minisblack", **options)
        sites[("A01", place)] = {"DNA": path, "GFP": path}
    return sites


def write_pipeline(path, changes=(), before_last=""):
    """The translocation pipeline with texts replaced, and a module put before the last one."""
    text = TRANSLOCATION.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    head, last = text.rsplit("\n\n", 1)
    path.write_text(f"{head}\n\n{before_last}{last}", encoding="utf-8")
    return path


def test_failures_cost_their_site_only_and_intensities_are_cellprofilers(tmp_path):
    sites = write_sites(tmp_path / "images", [3, 4, 0, 5, 2])
    whole = Path(sites["A01", 2]["DNA"]).read_bytes()
    Path(sites["A01", 2]["DNA"]).write_bytes(whole[: len(whole) // 2])
    Path(sites["A01", 4]["DNA"]).write_bytes(b"")
    del sites["A01", 5]["GFP"]
    index = write_index(tmp_path / "index.parquet", sites)
    output, ledger, _ = run_script(
        tmp_path, index, TRANSLOCATION, ["DNA", "GFP"], options={"masks": ["Nuclei", "Cytoplasm"]}
    )
    assert {row["site"]: row["severity"] for row in ledger} == {"2": "lost", "4": "lost", "5": "lost"}
    reasons = {row["site"]: row["reason"] for row in ledger}
    assert "LoadData" in reasons["2"] and "truncated" in reasons["2"]
    assert "0 bytes" in reasons["4"] and "GFP" in reasons["5"]
    assert read_sites(output)["Metadata_Site"].tolist() == [1, 3]
    assert read_images(output)["Image_Count_Nuclei"].tolist() == [3, 0]
    nuclei = read_objects(output)["Nuclei"]
    mask = read_mask(output, "A01", 1, "Nuclei")
    image = tifffile.imread(sites["A01", 1]["DNA"])
    means = [image[mask == label].mean() / 65535 for label in nuclei["ObjectNumber"]]
    assert np.allclose(nuclei["Intensity_MeanIntensity_OrigDNA"], means, rtol=1e-5)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_odd_names_everywhere(tmp_path, compression):
    folder = tmp_path / "my images; 100% 'β' #1 %20 \"q\" [x] (y)"
    sites = write_sites(folder, [3], compression=compression)
    rgb = folder / "s1 ü+&=~%41.tif"
    os.rename(sites["A01", 1]["DNA"], rgb)
    index = write_index(tmp_path / "index.parquet", {("A01", 1): {"DNA": rgb, "GFP": rgb}}, plate=ODD, batch=ODD)
    output, ledger, _ = run_script(tmp_path, index, TRANSLOCATION, ["DNA", "GFP"])
    assert ledger == []
    assert read_sites(output).loc[0, "Metadata_Plate"] == ODD
    assert len(read_objects(output)["Nuclei"]) == 3


def test_bio_formats_reads_odd_names_too(tmp_path):
    folder = tmp_path / "my images; 100% 'β' #1 %20"
    image = draw_nuclei(3)
    folder.mkdir()
    path = folder / "s1 ü%41 #2.tif"
    tifffile.imwrite(path, image, photometric="minisblack", imagej=True)
    index = write_index(tmp_path / "index.parquet", {("A01", 1): {"DNA": path, "GFP": path}})
    output, ledger, _ = run_script(tmp_path, index, TRANSLOCATION, ["DNA", "GFP"])
    assert ledger == []
    assert len(read_objects(output)["Nuclei"]) == 3


def test_pages_of_one_file_and_groups_and_illumination(tmp_path):
    pipeline = write_pipeline(
        tmp_path / "grouped.cppipe",
        [
            ("Group images by metadata?:No", "Group images by metadata?:Yes"),
            ("Select metadata tags for grouping:", "Select metadata tags for grouping:Well"),
            (
                "\nIdentifyPrimaryObjects:[module_num:2",
                "\nCorrectIlluminationApply:[module_num:2|svn_version:'Unknown'|variable_revision_number:5|"
                "show_window:False|notes:[]|batch_state:array([], dtype=uint8)|enabled:True|wants_pause:False]\n"
                "    Select the input image:OrigDNA\n    Name the output image:DNA\n"
                "    Select the illumination function:IllumDNA\n"
                "    Select how the illumination function is applied:Divide\n"
                "    Set output image values less than 0 equal to 0?:Yes\n"
                "    Set output image values greater than 1 equal to 1?:No\n"
                "\nIdentifyPrimaryObjects:[module_num:2",
            ),
            (
                "Select the input image:OrigDNA\n    Name the primary",
                "Select the input image:DNA\n    Name the primary",
            ),
            ("Select images to measure:OrigDNA, OrigGFP", "Select images to measure:DNA, OrigGFP"),
        ],
    )
    sites, stack = {}, []
    for place, (well, number) in enumerate([("B01", 2), ("A01", 3), ("B01", 4), ("A01", 5)]):
        image = draw_nuclei(number)
        stack += [image, image]
        file = tmp_path / "stack.tif"
        sites[(well, place)] = {"DNA": (file, 2 * place), "GFP": (file, 2 * place + 1)}
    tifffile.imwrite(tmp_path / "stack.tif", np.stack(stack), photometric="minisblack", metadata=None)
    np.save(tmp_path / "DNA.npy", np.full(stack[0].shape, 2, np.float32))
    assert pipelines.illuminated_channels(pipeline, ["DNA", "GFP"]) == ["DNA"]
    index = write_index(tmp_path / "index.parquet", sites)
    output, ledger, text = run_script(
        tmp_path, index, pipeline, ["DNA", "GFP"], illumination={"DNA": tmp_path / "DNA.npy"}
    )
    assert ledger == [], text[-2000:]
    images = read_images(output)
    found = dict(zip(images["Metadata_Site"], images["Image_Count_Nuclei"], strict=True))
    assert found == {0: 2, 1: 3, 2: 4, 3: 5}
    nuclei = read_objects(output)["Nuclei"]
    ratio = nuclei["Intensity_MeanIntensity_OrigGFP"] / nuclei["Intensity_MeanIntensity_DNA"]
    assert np.allclose(ratio, 2, rtol=1e-5), "the image was divided by its illumination function"


def test_sites_that_the_pipeline_skips_are_listed(tmp_path):
    flag = textwrap.dedent("""\
        FlagImage:[module_num:9|variable_revision_number:5|show_window:False|notes:[]|enabled:True]
            Hidden:1
            Hidden:1
            Name the flag's category:Metadata
            Name the flag:QCFlag
            How should measurements be linked?:Flag if any fail
            Skip image set if flagged?:Yes
            Flag is based on:Whole-image measurement
            Select the object to be used for flagging:None
            Which measurement?:Count_Nuclei
            Flag images based on low values?:Yes
            Minimum value:2.5
            Flag images based on high values?:No
            Maximum value:1.0
            Rules file location:Elsewhere...|
            Rules file name:rules.txt
            Class number:
            Allow fuzzy feature matching?:No

        """)
    pipeline = write_pipeline(tmp_path / "flag.cppipe", before_last=flag)
    index = write_index(tmp_path / "index.parquet", write_sites(tmp_path / "images", [4, 1, 3]))
    output, ledger, _ = run_script(tmp_path, index, pipeline, ["DNA", "GFP"])
    assert [(row["site"], row["severity"]) for row in ledger] == [("2", "lost")]
    assert "skipped by the pipeline's FlagImage" in ledger[0]["reason"]
    assert read_sites(output)["Metadata_Site"].tolist() == [1, 3]


def test_a_real_worker_killed_at_one_site_costs_that_site(tmp_path):
    index = write_index(tmp_path / "index.parquet", write_sites(tmp_path / "images", [3, 4, 2]))
    plan = make_plan(index, TRANSLOCATION, ["DNA", "GFP"], {}, {})
    killer = tmp_path / "killer.py"
    killer.write_text(
        textwrap.dedent("""
        import os, signal, sys
        from phenoloom.cellprofiler import runner, worker
        collect = worker._collect
        def die_at_2(measurements, number):
            images, objects = collect(measurements, number)
            if images["Count_Nuclei"] == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return images, objects
        worker._collect = die_at_2
        runner.work(*sys.argv[1:])
        """),
        encoding="utf-8",
    )
    found = launcher()
    output, ledger = tmp_path / "o.h5", tmp_path / "l.jsonl"
    count = runner.run_batch(plan, output, ledger, command=lambda *paths: [found, str(killer), *paths])
    rows = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    assert count == 2
    assert [(row["site"], "SIGKILL" in row["reason"]) for row in rows] == [("2", True)]
    assert read_images(output)["Image_Count_Nuclei"].tolist() == [3, 2]


def test_file_list_pipelines_find_their_sites_by_file(tmp_path, shared_data):
    data = shared_data("example_human")
    names = ("DNA", "PH3", "cellbody")
    sites = {}
    for well in ("A01", "B02", "C03"):
        folder = tmp_path / f"well {well} 100%"
        folder.mkdir()
        for n, name in enumerate(names):
            file = data / f"AS_09125_050116030001_D03f00d{n}.tif"
            target = folder / file.name
            target.symlink_to(file)
            sites.setdefault((well, 7), {})[name] = target
    broken = sites["B02", 7]["DNA"]
    broken.unlink()
    broken.write_bytes((data / "AS_09125_050116030001_D03f00d0.tif").read_bytes()[:5000])
    index = write_index(tmp_path / "index.parquet", sites, plate=ODD)
    output, ledger, text = run_script(tmp_path, index, data / "ExampleHuman.cppipe", list(names))
    assert [row["well"] for row in ledger] == ["B02"], text[-2000:]
    found = read_images(output)
    assert found["Metadata_Well"].tolist() == ["A01", "C03"]
    assert found["Image_Count_Nuclei"].tolist() == [289, 289]


def test_a_pipeline_that_cannot_load_fails_with_one_sentence(tmp_path):
    pipeline = write_pipeline(tmp_path / "p.cppipe", [("CalculateMath:[", "NoSuchModule:[")])
    index = write_index(tmp_path / "index.parquet", write_sites(tmp_path / "images", [3]))
    output, _, text = run_script(tmp_path, index, pipeline, ["DNA", "GFP"], check=False)
    assert "error: " in text.splitlines()[-1] and "p.cppipe" in text.splitlines()[-1]
    assert not output.exists()


def test_file_list_pipelines_get_further_files(tmp_path, shared_data):
    data = shared_data("example_human")
    text = (data / "ExampleHuman.cppipe").read_text("utf-8")
    block = (
        '    Select the rule criteria:and (file does contain "flat")\n'
        "    Name to assign these images:Flat\n    Name to assign these objects:Cell\n"
        "    Select the image type:Illumination function\n    Set intensity range from:Image metadata\n"
        "    Maximum intensity:255.0\n"
    )
    changes = {
        "Filter images?:Images only": "Filter images?:No filtering",
        "Assignments count:3": "Assignments count:4",
        "\n\nGroups:[module_num:4": "\n" + block + "\nGroups:[module_num:4",
        "Select images to measure:DNA, PH3": "Select images to measure:DNA, Flat",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    pipeline = tmp_path / "human.cppipe"
    pipeline.write_text(text, encoding="utf-8")
    np.save(tmp_path / "flat 1.npy", np.full((512, 512), 0.25, np.float32))
    names = ("DNA", "PH3", "cellbody")
    files = {name: data / f"AS_09125_050116030001_D03f00d{n}.tif" for n, name in enumerate(names)}
    index = write_index(tmp_path / "index.parquet", {("D03", 1): files})
    options = {"files": [str(tmp_path / "flat*.npy")]}
    output, ledger, text = run_script(tmp_path, index, pipeline, list(names), options=options)
    assert ledger == [], text[-2000:]
    assert np.allclose(read_objects(output)["Nuclei"]["Intensity_MeanIntensity_Flat"], 0.25)


def test_images_that_are_not_one_grey_plane_cost_their_site_only(tmp_path):
    sites = write_sites(tmp_path / "images", [3, 2, 4])
    tifffile.imwrite(sites["A01", 1]["DNA"], np.eye(3, dtype=np.uint8)[np.newaxis].repeat(9, 0), photometric="rgb")
    Path(sites["A01", 2]["DNA"]).write_bytes(b"II*\0 this is no image" * 9)
    index = write_index(tmp_path / "index.parquet", sites)
    output, ledger, _ = run_script(tmp_path, index, TRANSLOCATION, ["DNA", "GFP"])
    assert [row["site"] for row in ledger] == ["1", "2"]
    assert all("module" in row["reason"] for row in ledger)
    assert read_images(output)["Image_Count_Nuclei"].tolist() == [4]


def test_plain_tiffs_read_as_bio_formats_reads_them(tmp_path, shared_data):
    """What readers.TiffReader takes, from instruments and as people write it, has CellProfiler's own numbers."""
    random = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        for number, options in enumerate(
            ({}, {"compression": "zlib"}, {"tile": (64, 64)}, {"byteorder": ">"}, {"rowsperstrip": 7})
        ):
            pixels = random.integers(0, np.iinfo(dtype).max, (130, 150), dtype=dtype, endpoint=True)
            file = tmp_path / f"{np.dtype(dtype)}_{number}.tif"
            tifffile.imwrite(file, pixels, photometric="minisblack", metadata=None, **options)
    files = [
        *sorted(tmp_path.glob("*.tif")),
        *sorted(shared_data("phenix_field").glob("*.tiff")),
        *sorted(shared_data("example_human").glob("*.tif")),
        *sorted((shared_data("bbbc013") / "images").glob("*-A-0[1-3].tif")),
    ]
    script = tmp_path / "compare.py"
    script.write_text(
        textwrap.dedent("""
        import json, os, sys
        import numpy as np
        from cellprofiler_core.preferences import set_headless
        set_headless()
        from phenoloom.cellprofiler.readers import TiffReader, is_plain, start_java
        start_java()
        from bioformats.formatreader import get_image_reader
        found = {}
        for path in json.load(open(sys.argv[1])):
            if is_plain(path):
                theirs = get_image_reader(None, path=path).read(wants_max_intensity=True)
                ours = TiffReader(path).read(wants_max_intensity=True)
                same = theirs[1] == ours[1] and theirs[0].dtype == ours[0].dtype
                found[path] = bool(same and np.array_equal(theirs[0], ours[0]))
        json.dump(found, open(sys.argv[2], "w"))
        os._exit(0)
        """),
        encoding="utf-8",
    )
    (tmp_path / "files.json").write_text(json.dumps([str(file) for file in files]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "lib")}
    command = [launcher(), script, tmp_path / "files.json", tmp_path / "found.json"]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) >= 11 and all(found.values()), found


def test_without_cellprofiler_the_script_says_what_to_do(tmp_path):
    command = [sys.executable, ROOT / "workflow" / "scripts" / "cellprofiler.py", "--help"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and "make env" in done.stderr and len(done.stderr.splitlines()) == 1
