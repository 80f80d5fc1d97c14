"""The runner survives what a worker may do: crash at a site, hang, fail to start; each site is whole or in the ledger.

The worker here is a stand-in that writes the same events and files as the real one, and misbehaves on request.
"""

import json
import sys
import textwrap

import h5py
import numpy as np
import pytest

from phenoloom.cellprofiler import runner
from phenoloom.cellprofiler.measurements import read_objects, read_sites

WORKER = textwrap.dedent("""
    import json, os, signal, sys, time
    import numpy as np
    from phenoloom.cellprofiler.storage import write_site
    from phenoloom.cellprofiler.worker import HOPELESS, Events
    plan = json.load(open(sys.argv[1])); request = json.load(open(sys.argv[2])); faults = json.load(open(sys.argv[3]))
    events = Events(request["events"])
    if "hopeless" in faults:
        events(hopeless="p.cppipe cannot be loaded"); os._exit(HOPELESS)
    if any(faults.get(str(n)) == "no start" for n in request["numbers"]) or "no start" in faults:
        events(broken="ValueError: cannot prepare"); os._exit(1)
    events(ready=True)
    for n in request["numbers"]:
        fault = faults.get(str(n))
        events(site=n, started=1); events(site=n, module="Identify (module 2)")
        if fault == "crash": os.kill(os.getpid(), signal.SIGKILL)
        if fault == "half":
            open(os.path.join(request["results"], f"tmp{n}.partial"), "wb").write(b"PK"); os.kill(os.getpid(), 11)
        if fault == "hang": time.sleep(60)
        if fault == "fail": events(site=n, failed="Identify (module 2): ValueError: bad"); continue
        if fault == "exit": os._exit(0)
        write_site(request["results"], n, {"Count_Nuclei": float(n), "FileName_DNA": "f"},
                   {"Nuclei": {"AreaShape_Area": np.arange(n) + 10.0 * n, "Number_Object_Number": np.arange(n) + 1}},
                   {})
        events(site=n, done=True)
    events(ending=True)
    if "at the end" in faults: os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)
""")


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a batch of `count` sites with `faults`: (sites measured, {site: reason}, path)."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")

    def run(count, faults=None, site_limit=20, wells=("A01",)):
        plan = {"kind": "load_data", "images": {}, "masks": [], "sites": []}
        for number in range(1, count + 1):
            where = {"dataset": "d", "batch": "b", "plate": "p", "well": wells[number % len(wells)], "site": number}
            plan["sites"].append({"number": number, **where, "planes": {}})
        (tmp_path / "faults.json").write_text(json.dumps(faults or {}), encoding="utf-8")
        output, ledger = tmp_path / "o.h5", tmp_path / "l.jsonl"

        def command(plan_path, request_path):
            return [sys.executable, str(script), plan_path, request_path, str(tmp_path / "faults.json")]

        measured = runner.run_batch(plan, output, ledger, site_limit=site_limit, command=command, scratch=tmp_path)
        rows = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
        return measured, {row["site"]: row["reason"] for row in rows}, output

    return run


def test_all_sites_of_a_good_batch_are_measured(run):
    measured, reasons, output = run(3)
    assert (measured, reasons) == (3, {})
    nuclei = read_objects(output)["Nuclei"]
    assert nuclei["ImageNumber"].tolist() == [1, 2, 2, 3, 3, 3]
    assert nuclei["AreaShape_Area"].tolist() == [10, 20, 21, 30, 31, 32]


@pytest.mark.parametrize("fault, words", [("crash", "SIGKILL"), ("half", "SIGSEGV"), ("fail", "ValueError: bad")])
def test_a_crash_costs_its_site_only(run, fault, words):
    measured, reasons, output = run(5, {"2": fault, "4": fault})
    assert measured == 3 and set(reasons) == {"2", "4"}
    assert all("Identify (module 2)" in reason and words in reason for reason in reasons.values())
    assert read_sites(output)["Metadata_Site"].tolist() == [1, 3, 5]


def test_a_hang_costs_its_site_only(run):
    measured, reasons, _ = run(3, {"2": "hang"}, site_limit=1)
    assert measured == 2 and "hung for more than 1 s" in reasons["2"]


def test_a_worker_that_ends_early_without_an_error_is_noticed(run):
    measured, reasons, _ = run(3, {"2": "exit"})
    assert measured == 2 and set(reasons) == {"2"}
    assert "ended before it finished" in reasons["2"]


def test_what_prevents_the_start_is_narrowed_down_to_its_site(run):
    measured, reasons, _ = run(6, {"4": "no start"})
    assert measured == 5 and set(reasons) == {"4"}
    assert "cannot prepare" in reasons["4"]


def test_a_batch_of_which_no_site_starts_fails_with_one_sentence(run):
    with pytest.raises(runner.BatchError, match="cannot prepare any site"):
        run(5, {"no start": 1})


def test_a_pipeline_that_cannot_load_fails_at_once(run):
    with pytest.raises(runner.BatchError, match="p.cppipe cannot be loaded"):
        run(5, {"hopeless": 1})


def test_a_crash_after_the_last_site_loses_nothing_but_is_listed(run):
    measured, reasons, _ = run(2, {"at the end": 1})
    assert measured == 2
    assert list(reasons) == [None] and "after the last site" in reasons[None]


def test_a_batch_whose_sites_all_fail_still_gives_files(run):
    measured, reasons, output = run(2, {"1": "fail", "2": "crash"})
    assert measured == 0 and len(reasons) == 2
    assert read_sites(output).empty and read_objects(output) == {}


def test_nothing_is_left_behind_when_the_disk_is_full(run, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "join_sites", full)
    with pytest.raises(OSError, match="No space"):
        run(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faults.json", "worker.py"]


def test_features_that_some_sites_lack_are_nan_there(tmp_path):
    from phenoloom.cellprofiler.storage import join_sites, write_site

    sites = [{"number": n, "dataset": "d", "batch": "b", "plate": "p", "well": "A01", "site": n} for n in (1, 2, 3)]
    write_site(tmp_path, 1, {"Count_Nuclei": 2.0}, {"Nuclei": {"A": np.array([1.0, 2.0])}}, {})
    write_site(tmp_path, 2, {"Note": "text"}, {"Nuclei": {"B": np.array([3.0])}}, {"Nuclei": np.eye(3, dtype=int)})
    assert join_sites(tmp_path / "o.h5", tmp_path, sites, {"plate": "p"}) == 2
    frame = read_objects(tmp_path / "o.h5")["Nuclei"]
    assert np.array_equal(frame["A"], [1, 2, np.nan], equal_nan=True)
    assert np.array_equal(frame["B"], [np.nan, np.nan, 3], equal_nan=True)
    with h5py.File(tmp_path / "o.h5") as file:
        assert list(file["masks/Nuclei"]) == ["1"]
