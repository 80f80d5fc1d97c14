"""Labels from a FlowJo workspace: every event has the gate that numpy says, and what cannot be read is one sentence."""

import builtins
import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

import flowio
import numpy as np
import pytest

import event_sample
from event_sample import block
from phenoloom.config.loading import complete
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.cytometry import gates as module
from phenoloom.cytometry.compensation import read_spillover
from phenoloom.cytometry.fcs import read_fcs, read_header
from phenoloom.cytometry.gates import FLOWKIT, Gates
from phenoloom.cytometry.preflight import check_samples
from phenoloom.simulate.sorter import write_run

ENVS = Path(__file__).resolve().parents[2] / "workflow" / "envs"
NAMES = ["FSC-A", "FITC/A", "PE-A", "Time"]
SPILL = np.array([[1.0, 0.2], [0.05, 1.0]])
SPACES = " ".join(
    f'xmlns:{prefix}="http://www.isac-net.org/std/Gating-ML/v2.0/{name}"'
    for prefix, name in (("gating", "gating"), ("transforms", "transformations"), ("data-type", "datatypes"))
)
LOGICLE = 'transforms:T="262144" transforms:W="0.5" transforms:M="4.5" transforms:A="0"'
SCALES = {
    "FSC-A": '<transforms:linear transforms:minRange="0" transforms:maxRange="262144">{}</transforms:linear>',
    "FITC_A": f"<transforms:logicle {LOGICLE}>{{}}</transforms:logicle>",
    "PE-A": '<transforms:log transforms:offset="1" transforms:decades="5">{}</transforms:log>',
}


@pytest.fixture(scope="module")
def flowkit():
    return pytest.importorskip("flowkit")


# ---------------------------------------------------------------- a workspace, as FlowJo writes it


def rectangle(**ranges):
    """Gate of {parameter: (least, most)}, None where it is open; the least belongs to it."""
    text = ""
    for name, (least, most) in ranges.items():
        ends = "".join(
            f" gating:{key}={quoteattr(str(end))}" for key, end in (("min", least), ("max", most)) if end is not None
        )
        text += (
            f"<gating:dimension{ends}><data-type:fcs-dimension data-type:name={quoteattr(name)}/></gating:dimension>"
        )
    return f"<gating:RectangleGate>{text}</gating:RectangleGate>"


def polygon(one, other, *corners):
    dimensions = "".join(
        f"<gating:dimension><data-type:fcs-dimension data-type:name={quoteattr(name)}/></gating:dimension>"
        for name in (one, other)
    )
    vertices = "".join(
        "<gating:vertex>{}</gating:vertex>".format(
            "".join(f'<gating:coordinate data-type:value="{value}"/>' for value in corner)
        )
        for corner in corners
    )
    return f"<gating:PolygonGate>{dimensions}{vertices}</gating:PolygonGate>"


def population(name, gate, *inside, count=""):
    below = f"<Subpopulations>{''.join(inside)}</Subpopulations>" if inside else ""
    counted = f' count="{count}"' if count != "" else ""
    return f'<Population name={quoteattr(name)} owningGroup=""{counted}><Gate>{gate}</Gate>{below}</Population>'


def matrix(names=("FITC_A", "PE-A"), values=SPILL):
    listed = "".join(f'<data-type:parameter data-type:name="{name}"/>' for name in names)
    rows = "".join(
        f'<transforms:spillover data-type:parameter="{name}">'
        + "".join(
            f'<transforms:coefficient data-type:parameter="{other}" transforms:value="{value}"/>'
            for other, value in zip(names, row, strict=True)
        )
        + "</transforms:spillover>"
        for name, row in zip(names, values, strict=True)
    )
    head = '<transforms:spilloverMatrix name="Acquired" prefix="Comp-" suffix="">'
    return f"{head}<data-type:parameters>{listed}</data-type:parameters>{rows}</transforms:spilloverMatrix>"


def sample(name, *populations, uri="", spill="", scales=SCALES, number=1, count=""):
    parameter = '<data-type:parameter data-type:name="{}"/>'
    scaled = "".join(
        text.format(parameter.format(prefix + one)) for one, text in scales.items() for prefix in ("", "Comp-")
    )
    counted = f' count="{count}"' if count != "" else ""
    return (
        f'<Sample><DataSet uri={quoteattr(uri or name)} sampleID="{number}"/>{spill}'
        f"<Transformations>{scaled}</Transformations><Keywords/>"
        f'<SampleNode name={quoteattr(name)} owningGroup="" sampleID="{number}"{counted}>'
        f"<Subpopulations>{''.join(populations)}</Subpopulations></SampleNode></Sample>"
    )


def workspace(path, *samples, head='<?xml version="1.0" encoding="UTF-8"?>'):
    groups = '<Groups><GroupNode name="All Samples"><Group><SampleRefs><SampleRef sampleID="1"/></SampleRefs></Group>'
    path.write_text(
        f'{head}<Workspace version="20.0" flowJoVersion="10.8.1" {SPACES}>{groups}</GroupNode></Groups>'
        f"<!-- a comment --><SampleList><!-- another -->{''.join(samples)}</SampleList></Workspace>",
        encoding="utf-8",
    )
    return path


# ---------------------------------------------------------------- events, and what numpy says of them


@pytest.fixture(scope="module")
def cytometer(tmp_path_factory):
    """(Fcs, events (n, 4) as float64) of a file whose two fluorescences spill into each other."""
    path = tmp_path_factory.mktemp("fcs") / "tube 1.fcs"
    random = np.random.default_rng(1)
    true = np.exp(random.normal([[6.0, 5.5]], 1.5, (4000, 2)))
    events = np.column_stack([random.uniform(0, 2e5, 4000), true @ SPILL, np.arange(4000)]).astype(np.float32)
    with open(path, "wb") as file:
        flowio.create_fcs(file, events.ravel().tolist(), NAMES, metadata_dict={"timestep": "0.5"})
    fcs, stored = read_fcs(path)
    np.testing.assert_array_equal(stored, events)
    return fcs, events.astype(np.float64)


def labelled(flowkit_is_there, path, fcs, wanted, numbers=None):
    """(labels by name as lists, ledger rows) of events."""
    ledger = Ledger("events")
    numbers = np.arange(fcs.n_events) if numbers is None else numbers
    found = Gates(path, fcs, wanted).labels(numbers, ledger)
    return {name: values.tolist() for name, values in found.items()}, ledger.rows


def named(**gates):
    """Labels by numpy: the one gate of {name: (n,) bool} that holds an event, None where none or several do."""
    inside = np.stack(list(gates.values()))
    return [list(gates)[column.argmax()] if column.sum() == 1 else None for column in inside.T]


def in_polygon(x, y, corners):
    """(n,) bool by the even-odd rule."""
    inside = np.zeros(len(x), bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


@pytest.mark.parametrize("values", [1_000_000, 1001])
def test_rectangles_on_compensated_logicle_data_label_the_events_that_numpy_says(
    flowkit, cytometer, tmp_path, monkeypatch, values
):
    monkeypatch.setattr(module, "VALUES", values)
    fcs, events = cytometer
    low, high = (-100, 400), (400, None)
    path = workspace(
        tmp_path / "w.wsp",
        sample(
            "tube 1.fcs",
            population(
                "big",
                rectangle(**{"FSC-A": (50_000, None)}),
                population("dim", rectangle(**{"Comp-FITC_A": low})),
                population("bright ü", rectangle(**{"Comp-FITC_A": high, "Comp-PE-A": (None, 300)})),
            ),
            spill=matrix(),
        ),
    )
    fitc, pe = (events[:, 1:3] @ np.linalg.inv(SPILL)).T
    big = events[:, 0] >= 50_000
    expected = named(**{"dim": big & (fitc >= -100) & (fitc < 400), "bright ü": big & (fitc >= 400) & (pe < 300)})
    found, rows = labelled(flowkit, path, fcs, {"Level": ["dim", "big/bright ü"]})
    assert found == {"Metadata_Level": expected} and rows == []
    assert min(expected.count("dim"), expected.count("bright ü"), expected.count(None)) > 300
    some = np.array([7, 70, 3999])
    assert labelled(flowkit, path, fcs, {"Level": ["dim", "bright ü"]}, some)[0]["Metadata_Level"] == [
        expected[number] for number in some
    ]


def test_polygons_lie_on_the_scales_of_the_workspace(flowkit, cytometer, tmp_path):
    fcs, events = cytometer
    corners = [(20_000, 30), (180_000, 100), (150_000, 3000), (60_000, 20_000)]
    path = workspace(tmp_path / "w.wsp", sample("tube 1.fcs", population("P", polygon("FSC-A", "PE-A", *corners))))
    scaled = np.log10(np.maximum(events[:, 2], 1)) / 5
    inside = in_polygon(events[:, 0], scaled, [(x, np.log10(y) / 5) for x, y in corners])
    straight = in_polygon(events[:, 0], events[:, 2], corners)
    found = labelled(flowkit, path, fcs, {"Gate": ["P"]})[0]["Metadata_Gate"]
    assert found == named(P=inside) and 500 < inside.sum() < 3500
    assert np.count_nonzero(inside != straight) > 100  # without the scale other events would be in it


def test_time_is_in_seconds_and_floats_are_as_stored(flowkit, cytometer, tmp_path):
    fcs, _ = cytometer
    path = workspace(tmp_path / "w.wsp", sample("tube 1.fcs", population("first", rectangle(Time=(None, 100.0)))))
    found = labelled(flowkit, path, fcs, {"When": ["first"]})[0]["Metadata_When"]
    assert found == ["first"] * 200 + [None] * 3800


def test_an_event_in_several_gates_has_no_label_and_is_counted(flowkit, cytometer, tmp_path):
    fcs, events = cytometer
    gates = {"low": (0, 90_000), "high": (80_000, None), "none": (-2, -1)}
    path = workspace(
        tmp_path / "w.wsp",
        sample("tube 1.fcs", *(population(name, rectangle(**{"FSC-A": ends})) for name, ends in gates.items())),
    )
    low, high = events[:, 0] < 90_000, events[:, 0] >= 80_000
    found, rows = labelled(flowkit, path, fcs, {"A": ["low", "high"], "B": ["none"]})
    assert found == {"Metadata_A": named(low=low, high=high), "Metadata_B": [None] * 4000}
    assert [(row["severity"], row["unit"], row["count"]) for row in rows] == [
        ("flagged", "event", np.count_nonzero(low & high)),
        ("flagged", "event", 4000),
    ]
    assert (
        "more than one gate of events.gates.A in " in rows[0]["reason"] and "no event is in a gate" in rows[1]["reason"]
    )


def test_gates_of_one_name_are_told_apart_by_their_paths(flowkit, cytometer, tmp_path):
    fcs, events = cytometer
    live = population("live", rectangle(**{"PE-A": (200, None)}))
    path = workspace(
        tmp_path / "w.wsp",
        sample(
            "tube 1.fcs",
            population("small", rectangle(**{"FSC-A": (None, 1e5)}), live),
            population("big", rectangle(**{"FSC-A": (1e5, None)}), live),
        ),
    )
    small, alive = events[:, 0] < 1e5, events[:, 2] >= 200
    found = labelled(
        flowkit, path, fcs, {"Size": ["small/live", "root/big/live"], "One": ["/".join(["", "root", "small", "live"])]}
    )[0]
    assert found["Metadata_Size"] == named(**{"small/live": small & alive, "root/big/live": ~small & alive})
    assert found["Metadata_One"] == named(live=small & alive)
    with pytest.raises(InputError, match="gate 'live' is there as root/small/live and root/big/live; give its path"):
        Gates(path, fcs, {"Size": ["live"]})


@pytest.mark.parametrize(("count", "all_", "flagged"), [("", "", 0), (1000, 4000, 0), (1000, 4001, 0), (1500, 9000, 2)])
def test_what_flowjo_counted_is_compared(flowkit, cytometer, tmp_path, count, all_, flagged):
    fcs, _ = cytometer
    gate = population("first", rectangle(Time=(None, 500.0)), count=count)
    path = workspace(tmp_path / "w.wsp", sample("tube 1.fcs", gate, count=all_))
    rows = labelled(flowkit, path, fcs, {"When": ["first"]})[1]
    assert len(rows) == flagged
    if flagged:
        assert "gate root holds 4,000 events" in rows[0]["reason"] and "but 9,000 by FlowJo" in rows[0]["reason"]
        assert "gate root/first holds 1,000 events" in rows[1]["reason"] and rows[1]["count"] == 500


ALL = population("all", rectangle(**{"FSC-A": (None, None)}))
PE = population("PE", rectangle(**{"Comp-PE-A": (0, 1)}))


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("tube 1.fcs", "file:/C:/elsewhere/other.fcs"),
        ("renamed in FlowJo", "file:/C:/Data%20of%20May/tube%201.fcs"),
        ("renamed in FlowJo", "tube%201.fcs"),
    ],
)
def test_the_sample_is_found_by_its_name_or_its_file_among_others(flowkit, cytometer, tmp_path, name, uri):
    fcs, _ = cytometer
    odd = {"PE-A": "<transforms:hyperlog>{}</transforms:hyperlog>"}  # FlowKit refuses this scale
    path = workspace(tmp_path / "w.wsp", sample("x.fcs", number=2, scales=odd), sample(name, ALL, uri=uri))
    assert labelled(flowkit, path, fcs, {"G": ["all"]})[0]["Metadata_G"] == ["all"] * 4000


# ---------------------------------------------------------------- what cannot be read

BOMB = '<!DOCTYPE b [<!ENTITY a "{}"><!ENTITY b "{}"><!ENTITY c "{}">]>'.format("a" * 99, "&a;" * 99, "&b;" * 99)
ENTITY = '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read .*correct the sample's column 'workspace'"),
        ("", "is no workspace that can be read"),
        ("sample,G1\n1,2\n", "is no workspace that can be read"),
        ("<Workspace><SampleList>", "is no workspace that can be read"),
        ("<svg/>", "is no FlowJo workspace"),
        ('<Workspace version="1.61"><SampleList/></Workspace>', "is no FlowJo workspace"),
        (BOMB + "<Workspace>&c;</Workspace>", "declares entities|cannot be read|can be read"),
        (ENTITY + '<Workspace flowJoVersion="10.1"><SampleList>&x;</SampleList></Workspace>', "declares entities"),
        ('<Workspace flowJoVersion="10.1"><SampleList/></Workspace>', "has no sample of .*tube 1.fcs; it has none"),
        ("a" * 100_000, "is no workspace that can be read"),
    ],
)
def test_a_file_that_is_no_workspace_is_one_sentence(flowkit, cytometer, tmp_path, text, said):
    path = tmp_path / "w.wsp"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"w.wsp.*({said})") as caught:
        Gates(path, cytometer[0], {"G": ["all"]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "wanted", "said"),
    [
        (
            [sample("a.fcs", ALL), sample("b.fcs", ALL)],
            "all",
            "has no sample of .*tube 1.fcs; it has a.fcs, b.fcs: corr",
        ),
        ([sample("tube 1.fcs", ALL), sample("tube 1.fcs", ALL)], "all", "has the file tube 1.fcs more than once"),
        ([sample("tube 1.fcs", ALL)], "al", "has no gate 'al'; did you mean 'all'"),
        ([sample("tube 1.fcs", ALL)], "G1", "has no gate 'G1'; it has root/all"),
        ([sample("tube 1.fcs")], "G1", "has no gate 'G1'; it has none"),
        ([sample("tube 1.fcs", population("x", rectangle(APC=(0, 1))))], "x", "FlowKit cannot use .*APC is not found"),
        (
            [sample("tube 1.fcs", ALL, scales={"PE-A": "<transforms:miltenyi>{}</transforms:miltenyi>"})],
            "all",
            "FlowKit cannot use the gates of sample tube 1.fcs .*miltenyi",
        ),
        ([sample("tube 1.fcs", PE, spill=matrix(values=SPILL * 0))], "PE", "FlowKit cannot use .*[Ss]ingular"),
    ],
)
def test_what_does_not_fit_is_one_sentence(flowkit, cytometer, tmp_path, samples, wanted, said):
    with pytest.raises(InputError, match=f"w.wsp.*({said})"):
        Gates(workspace(tmp_path / "w.wsp", *samples), cytometer[0], {"G": [wanted]})


def test_a_damaged_workspace_never_crashes(flowkit, cytometer, tmp_path):
    fcs, _ = cytometer
    corners = [(0, 10), (1e5, 10), (1e5, 1e4)]
    gates = population("big", rectangle(**{"FSC-A": (1, None)}), population("P", polygon("FITC_A", "PE-A", *corners)))
    path = workspace(tmp_path / "w.wsp", sample("tube 1.fcs", gates, spill=matrix()))
    whole, random = path.read_text(), np.random.default_rng(0)
    pieces = [match.span() for match in re.finditer(r'"[^"]*"|<[^>]*>', whole)]
    read = 0
    for start, stop in random.permutation(pieces)[:120]:
        path.write_text(whole[:start] + random.choice(["", '"x"', '"0"', '"-1e400"']) + whole[stop:])
        try:
            labelled(flowkit, path, fcs, {"G": ["P"]}, np.arange(9))
            read += 1
        except InputError:
            pass
    assert read > 2


def test_without_flowkit_it_is_said_what_to_install(cytometer, tmp_path, monkeypatch):
    real = builtins.__import__

    def imported(name, *more, **options):
        if name == "flowkit":
            raise ModuleNotFoundError("No module named 'flowkit'")
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", imported)
    path = workspace(tmp_path / "w.wsp", sample("tube 1.fcs", ALL))
    with pytest.raises(InputError, match=f"w.wsp: install flowkit=={FLOWKIT}, an optional dependency"):
        Gates(path, cytometer[0], {"G": ["all"]})


def test_the_pin_is_that_of_the_environment_s_file():
    assert f"FlowKit=={FLOWKIT}" in (ENVS / "flowkit.txt").read_text().splitlines()


# ---------------------------------------------------------------- a sample from its table on

CHANNELS = {"DNA": {"source": "DNA-A"}, "FSC": {"source": "FSC"}}
LAYOUT = {"format": "sorter", "pattern": "*_{event}.tiff"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a simulated run, and a border that parts its compensated DNA areas into two halves."""
    folder = tmp_path_factory.mktemp("sorter")
    write_run(folder, "s", 60, seed=3, defects={"missing": 3, "unreadable": 2})
    fcs, raw = read_fcs(folder / "s.fcs")
    spill = read_spillover(fcs)
    kept = [
        place for place, name in enumerate(spill.names) if name[:3] not in ("FSC", "SSC")
    ]  # FlowKit takes no others
    names, values = [spill.names[place] for place in kept], spill.matrix[np.ix_(kept, kept)]
    areas = raw[:, [fcs.names.index(name) for name in names]].astype(np.float64) @ np.linalg.inv(values)
    dna = areas[:, names.index("DNA-A")]
    border = float(np.median(dna)) + 1e-3
    high = population("high", rectangle(**{"Comp-DNA-A": (border, None)}))
    low = population("low", rectangle(**{"Comp-DNA-A": (None, border)}))
    workspace(folder / "s.wsp", sample("s.fcs", high, low, spill=matrix(names, values), scales={}))
    return folder, np.where(dna >= border, "high", "low")


def given(folder):
    return {"images": folder / "images", "fcs": folder / "s.fcs", "events": folder / "s_classes.csv"}


def test_gates_label_the_images_of_their_events_beside_a_table(flowkit, run, tmp_path):
    folder, truth = run
    both = block(CHANNELS, LAYOUT | {"gates": {"Content": ["low", "high"]}, "labels": {"Class": "Class"}})
    built = event_sample.build(tmp_path, both, **given(folder), workspace=folder / "s.wsp")
    assert built.events["Metadata_Content"].tolist() == truth[built.events["Metadata_Event"]].tolist()
    assert len(built.events) == 55 and built.events["Metadata_Class"].notna().all()
    kinds = built.manifest.to_pandas().set_index("kind")["path"]
    assert kinds["workspace"] == str(folder / "s.wsp")


def test_gates_that_are_asked_for_need_a_workspace(run, tmp_path):
    asking = block(CHANNELS, LAYOUT | {"gates": {"Content": ["low", "high"]}})
    with pytest.raises(InputError, match="events.gates needs a FlowJo workspace; name it in the column 'workspace'"):
        event_sample.build(tmp_path, asking, **given(run[0]))
    with pytest.raises(InputError, match="no.wsp does not exist; mend the column 'workspace' of sample one"):
        event_sample.build(tmp_path, asking, **given(run[0]), workspace=tmp_path / "no.wsp")


def test_a_workspace_that_no_gate_is_asked_of_needs_no_flowkit(run, tmp_path):
    plain = block(CHANNELS, LAYOUT)
    built = event_sample.build(tmp_path, plain, **given(run[0]), workspace=run[0] / "s.wsp")
    assert len(built.events) == 55 and not built.manifest.to_pandas()["kind"].eq("label").any()


def test_preflight_looks_for_the_gates_in_the_workspace(flowkit, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run[0]
    Path("samples.tsv").write_text(
        f"sample\timages\tfcs\tworkspace\ns\t{folder}/images\t{folder}/s.fcs\t{folder}/s.wsp\n"
    )

    def problems(*gates):
        dataset = {"assay": "cytometry", "samples": "samples.tsv", "channels": CHANNELS}
        dataset |= {"events": LAYOUT | {"gates": {"Content": list(gates)}}, "features": {"classical": {}}}
        config = complete({"study": "s", "datasets": {"d": dataset}})
        return [
            text for severity, _, text in check_samples("d", config["datasets"]["d"]).problems if severity == "error"
        ]

    assert problems("low", "high") == []
    assert "has no gate 'hihg'; did you mean 'high'?" in problems("low", "hihg")[0]
    workspace(tmp_path / "other.wsp", sample("t.fcs"))
    Path("samples.tsv").write_text(f"sample\timages\tfcs\tworkspace\ns\t{folder}/images\t{folder}/s.fcs\tother.wsp\n")
    assert "other.wsp has no sample of" in problems("low")[0] and len(problems("low")) == 1


def test_fcs_files_that_flowkit_itself_refuses_are_read_by_our_policy(flowkit, run, tmp_path):
    folder, truth = run
    raw = (folder / "s.fcs").read_bytes()
    begin, end = int(raw[26:34]), int(raw[34:42])
    later = raw[:26] + b"%8d%8d" % (begin, end + 1) + raw[42:]  # the last byte, one too far, in the HEADER alone
    (tmp_path / "s.fcs").write_bytes(later)
    with pytest.raises(Exception, match="discrepancy"):
        flowkit.Sample(str(tmp_path / "s.fcs"))
    fcs = read_header(tmp_path / "s.fcs", "lenient")
    found = labelled(flowkit, folder / "s.wsp", fcs, {"Content": ["low", "high"]})[0]
    assert fcs.deviations and found["Metadata_Content"] == truth.tolist()
