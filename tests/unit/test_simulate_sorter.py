"""The simulated sorter writes runs that read as real ones do, and what is planted can be measured."""

import filecmp

import numpy as np
import pytest
import tifffile
from skimage.measure import label, regionprops

from phenoloom.core.errors import InputError
from phenoloom.core.images import ImageError, read_plane
from phenoloom.cytometry.compensation import read_spillover
from phenoloom.cytometry.events import event_frame, patterns_of
from phenoloom.cytometry.fcs import read_fcs
from phenoloom.cytometry.joining import verify_join
from phenoloom.simulate.sorter import BACKGROUND, CLASSES, DEFECTS, PAGES, SATURATION, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sorter") / "run"
    truth = write_run(folder, "s1", 120, seed=4)
    fcs, events = read_fcs(folder / "s1.fcs", "strict")
    stacks = [tifffile.imread(folder / image) for image in truth["Image"]]
    sums = np.array([(stack - BACKGROUND).sum(axis=(1, 2)) for stack in stacks])
    return truth, fcs, events, event_frame(fcs, events, patterns_of(fcs)), stacks, sums


def test_it_is_laid_out_as_the_instrument_does(run):
    truth, fcs, _, events, stacks, _ = run
    assert fcs.version == "3.1" and fcs.n_events == len(truth) == 120
    assert {stack.shape[0] for stack in stacks} == {8} and {stack.shape[2] for stack in stacks} == {104}
    heights = [stack.shape[1] for stack in stacks]
    assert min(heights) >= 41 and max(heights) <= 137 and len(set(heights)) > 10
    assert stacks[0].dtype == np.float32
    assert (np.diff(events["EventNumber0"].astype(np.int64)) == 1).all()


def test_images_and_events_join_by_index_and_not_with_a_shift(run):
    _, _, _, events, _, sums = run
    found = {PAGES[match.page]: (match.parameter, match.r) for match in verify_join(sums, events).matches}
    lit = [page for page in PAGES if page != "Blank"]
    assert all(found[page][0] == f"{page}-A" and found[page][1] > 0.99 for page in lit)
    with pytest.raises(InputError, match="moved by -1 event"):
        verify_join(np.roll(sums, 1, axis=0), events)


def test_removing_spillover_brings_areas_nearer_to_their_images(run):
    _, fcs, raw, events, _, sums = run
    clean = event_frame(fcs, raw, spillover=read_spillover(fcs))["Bodies-A"]
    page = sums[:, PAGES.index("Bodies")]
    assert np.corrcoef(clean, page)[0, 1] > max(0.999, np.corrcoef(events["Bodies-A"], page)[0, 1])


def test_classes_can_be_measured(run):
    truth, _, _, events, stacks, _ = run
    spots, shapes = [], []
    for stack in stacks:
        bodies = stack[PAGES.index("Bodies")]
        spots.append(label(bodies > 0.15).max())
        cell = max(regionprops(label(stack[PAGES.index("FSC")] > 0.06)), key=lambda region: region.area)
        shapes.append(cell.axis_major_length / cell.axis_minor_length)
    by = truth.assign(spots=spots, shape=shapes, dna=events["DNA-A"], moment=events["Radial Moment (DNA)"])
    typical = by.groupby("Class")[["spots", "shape", "dna", "moment"]].median()
    assert typical["spots"].idxmax() == "many_spots" and typical["spots"].nlargest(2).iloc[1] <= 1
    assert typical["shape"].idxmax() == "elongated" and typical.loc["elongated", "shape"] > 1.6
    assert typical["moment"].idxmax() == typical["dna"].idxmax() == "two_nuclei"
    assert np.corrcoef(truth["DNA"], events["DNA-A"])[0, 1] > 0.99


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_run(tmp_path / name, "s", 4, seed=seed)
    files = ["s.fcs", "s_classes.csv", *(f"images/s_{event:08d}.tiff" for event in range(4))]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    assert files[0] in filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)[1]


def test_batches_differ_in_gain_and_an_event_does_not_depend_on_the_others(tmp_path):
    write_run(tmp_path / "a", "s", 6, batch="1")
    write_run(tmp_path / "b", "s", 6, batch="2")
    ratios = [event_frame(*read_fcs(tmp_path / name / "s.fcs"))["SSC-A"].to_numpy() for name in ("a", "b")]
    ratio = ratios[0] / ratios[1]
    assert abs(ratio.mean() - 1) > 0.01 and ratio.std() < 0.01


def test_bad_events_are_bad_as_the_truth_says(tmp_path):
    truth = write_run(tmp_path / "run", "s", 24, defects=dict.fromkeys(DEFECTS, 2)).set_index("Defect")
    assert sorted(truth.index[truth.index != ""]) == sorted(2 * list(DEFECTS))

    def stack(defect):
        return tifffile.imread(tmp_path / "run" / truth.loc[[defect], "Image"].iloc[0])

    assert len(stack("wrong_pages")) == 7
    assert stack("empty").max() < 0.05
    assert (stack("saturated") == np.float32(SATURATION)).sum() > 100
    assert stack("cut_off")[PAGES.index("FSC")][:, 0].max() > 0.1
    with pytest.raises(ImageError):
        read_plane(tmp_path / "run" / truth.loc[["unreadable"], "Image"].iloc[0], 5)
    assert not (tmp_path / "run" / truth.loc[["missing"], "Image"].iloc[0]).exists()


@pytest.mark.parametrize(
    "wrong",
    [{"sample": "a/b"}, {"sample": ""}, {"n_events": 0}, {"classes": ["green"]}, {"defects": {"late": 1}}]
    + [{"n_events": 2, "defects": {"empty": 3}}],
)
def test_wrong_arguments_are_refused_and_leave_nothing(tmp_path, wrong):
    with pytest.raises(InputError):
        write_run(tmp_path / "run", **{"sample": "s", "n_events": 5, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_each_class_has_its_share(run):
    assert run[0]["Class"].value_counts().to_dict() == dict.fromkeys(CLASSES, 30)
