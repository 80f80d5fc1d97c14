"""Watches the CellProfiler worker of a batch: a crash or a hang costs the site in progress, the rest goes on.

Works on Python 3.9 in the CellProfiler environment.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from phenoloom.cellprofiler.plan import lacking_channels
from phenoloom.cellprofiler.storage import join_sites, site_path
from phenoloom.cellprofiler.worker import HOPELESS, run

#: Starting CellProfiler and preparing a batch takes seconds; a disk that sleeps may add minutes.
START_LIMIT = 900

#: So many sites in a row that cannot even be prepared, each alone, mean that none can.
PATIENCE = 3

_POLL = 0.1


class BatchError(Exception):
    """The batch as a whole cannot run; the message is one sentence."""


def run_batch(plan, output, ledger, site_limit=1800, command=None, scratch=None, files=None, costs=None):
    """Run all sites of a plan; write the measurements to `output` (.h5) and failures to `ledger` (JSON lines).

    site_limit: seconds after which a site counts as hung. command: function (plan path, request path) -> command of
    a worker. files: .zip to keep what the pipeline itself wrote (images, tables), None to drop it. costs: JSON for what
    the sites took without start-up, in the order in which they ran: plate, well, site, seconds, cpu_seconds, peak_mb.
    Returns the number of sites measured. Raises BatchError when the pipeline itself cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="phenoloom-", dir=scratch) as folder:
        watch = _Batch(plan, folder, site_limit, command or worker_command)
        with _ended_by_signals():
            watch.run()
        first = plan["sites"][0] if plan["sites"] else {"dataset": "", "plate": ""}
        with _atomic(output) as partial:
            attributes = {"dataset": first["dataset"], "plate": first["plate"]}
            count = join_sites(partial, watch.results, plan["sites"], attributes)
        if files is not None:
            with _atomic(files) as partial:
                keep_files(partial, folder)
        if costs is not None:
            with _atomic(costs) as partial, open(partial, "w", encoding="utf-8") as file:
                json.dump(watch.costs, file)
        rows = [_ledger_row(site, *watch.failures[site["number"]]) for site in plan["sites"] if _lost(watch, site)]
        if watch.warnings and plan["sites"]:
            text = f"after the last site: {'; '.join(sorted(set(watch.warnings)))}"
            rows.append({**_ledger_row(first, text, "flagged"), "well": None, "site": None, "count": count})
        with _atomic(ledger) as partial, open(partial, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return count


def worker_command(plan_path, request_path):
    """Command line of a worker: this Python, this module."""
    return [sys.executable, "-m", "phenoloom.cellprofiler.runner", plan_path, request_path]


def keep_files(path, folder):
    """Zip what the pipelines of all workers wrote, by its name; by worker and name where two wrote the same name."""
    seen = set()
    with zipfile.ZipFile(path, "w") as archive:
        for worker in sorted(Path(folder).glob("worker-*")):
            root = worker / "output"
            for file in sorted(found for found in root.rglob("*") if found.is_file()):
                name = str(file.relative_to(root))
                name = f"{worker.name}/{name}" if name in seen else name
                seen.add(name)
                # a fixed date: the same files give the same bytes
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o644 << 16
                with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)


class _Batch:
    """State of a batch: which sites are finished (a file each), failed (a reason each) or still to do."""

    def __init__(self, plan, folder, site_limit, command):
        self.plan = plan
        self.folder = Path(folder)
        self.results = str(self.folder / "sites")
        os.mkdir(self.results)
        self.plan_path = str(self.folder / "plan.json")
        Path(self.plan_path).write_text(json.dumps(plan), encoding="utf-8")
        self.site_limit = site_limit
        self.command = command
        self.failures = {number: (reason, "lost") for number, reason in lacking_channels(plan).items()}
        self.warnings = []
        self.costs = []
        self.workers = 0
        self.unprepared = 0

    def run(self):
        self._run([site["number"] for site in self.plan["sites"]])

    def _todo(self, numbers):
        return [n for n in numbers if n not in self.failures and not os.path.exists(site_path(self.results, n))]

    def _run(self, numbers):
        """Work off `numbers`; what kills a worker before any site is narrowed down by halves."""
        while True:
            numbers = self._todo(numbers)
            if not numbers:
                return
            outcome = self._one_worker(numbers)
            if outcome.ready:
                self.unprepared = 0
                if outcome.current is not None:
                    self.failures[outcome.current] = (outcome.reason, "lost")
                elif outcome.ended_well or outcome.ending:
                    for number in self._todo(numbers):
                        self.failures[number] = ("the pipeline did not run it", "lost")
                    if not outcome.ended_well:
                        self.warnings.append(outcome.reason)
                elif self._todo(numbers) == numbers:
                    self.failures[numbers[0]] = (outcome.reason, "lost")
                continue
            if len(numbers) == 1:
                self.failures[numbers[0]] = (f"CellProfiler cannot prepare it: {outcome.reason}", "lost")
                self.unprepared += 1
                if self.unprepared >= PATIENCE and not os.listdir(self.results):
                    raise BatchError(f"CellProfiler cannot prepare any site of the batch: {outcome.reason}")
                return
            middle = len(numbers) // 2
            self._run(numbers[:middle])
            self._run(numbers[middle:])
            return

    def _one_worker(self, numbers):
        """Run one worker over `numbers` to its end, and say how it ended."""
        self.workers += 1
        folder = self.folder / f"worker-{self.workers}"
        folder.mkdir()
        events = folder / "events.jsonl"
        events.touch()
        request = folder / "request.json"
        request.write_text(
            json.dumps({"numbers": numbers, "results": self.results, "folder": str(folder), "events": str(events)}),
            encoding="utf-8",
        )
        outcome = _Outcome()
        process = subprocess.Popen(
            self.command(self.plan_path, str(request)), env=_environment(folder), stdin=subprocess.DEVNULL
        )
        try:
            with open(events, encoding="utf-8") as file:
                self._follow(process, file, outcome)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        return outcome

    def _follow(self, process, file, outcome):
        pending = ""
        while True:
            ended = process.poll() is not None
            pending += file.read()
            *lines, pending = pending.split("\n")
            for line in lines:
                self._take(json.loads(line), outcome)
            if ended:
                outcome.end(process.returncode)
                if process.returncode == HOPELESS:
                    raise BatchError(outcome.reason)
                return
            limit = self.site_limit if outcome.ready else START_LIMIT
            if time.monotonic() - outcome.since > limit:
                process.kill()
                process.wait()
                outcome.end(None, f"hung for more than {limit:g} s")
                return
            time.sleep(_POLL)

    def _take(self, event, outcome):
        number = event.get("site")
        outcome.ready = outcome.ready or bool(event.get("ready"))
        outcome.ending = outcome.ending or bool(event.get("ending"))
        if "started" in event or event.get("ready") or event.get("ending"):
            outcome.since = time.monotonic()
        if "started" in event:
            outcome.current, outcome.module = number, ""
        if "module" in event:
            outcome.module = event["module"]
        if "failed" in event:
            self.failures[number] = (event["failed"], "lost")
            outcome.current = None
        if event.get("done"):
            outcome.current = None
            if "cpu_seconds" in event:
                site = next(site for site in self.plan["sites"] if site["number"] == number)
                place = {name: site[name] for name in ("plate", "well", "site")}
                self.costs.append({**place, **{name: event[name] for name in ("seconds", "cpu_seconds", "peak_mb")}})
        if "warning" in event:
            self.warnings.append(event["warning"])
        if "broken" in event or "hopeless" in event:
            outcome.words = event.get("broken") or event.get("hopeless")


class _Outcome:
    """How a worker went: did it get ready, which site was in progress, why did it end."""

    def __init__(self):
        self.ready = self.ending = self.ended_well = False
        self.current = None
        self.module = ""
        self.words = self.reason = ""
        self.since = time.monotonic()

    def end(self, status, words=""):
        self.ended_well = status == 0
        if status is not None and status < 0:
            words = f"CellProfiler was killed by {_signal_name(-status)} (out of memory, or a crash)"
        elif status:
            words = self.words or f"CellProfiler ended with status {status}"
        elif status == 0 and self.current is not None:
            words = "CellProfiler ended before it finished the site"
        self.reason = f"{self.module}: {words}" if self.module and self.current is not None else words


def _lost(watch, site):
    return not os.path.exists(site_path(watch.results, site["number"])) and site["number"] in watch.failures


def _ledger_row(site, reason, severity):
    """A row of core.ledger.SCHEMA (core itself needs pandas, which this environment lacks)."""
    return {
        "dataset": site["dataset"],
        "plate": site["plate"],
        "well": site.get("well"),
        "site": str(site.get("site")),
        "channel": None,
        "unit": "site",
        "stage": "cellprofiler",
        "severity": severity,
        "count": 1,
        "reason": reason,
    }


def _environment(folder):
    """The worker's environment: UTF-8 everywhere, one thread, a small JVM, caches and home in scratch."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    library = str(Path(__file__).resolve().parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    # serial collection and two compiler threads at most: a job uses the one core it was given
    java = "-Xmx1g -XX:+UseSerialGC -XX:CICompilerCount=2 -Dfile.encoding=UTF-8"
    return {
        **os.environ,
        **dict.fromkeys(threads, "1"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
        "JAVA_TOOL_OPTIONS": java,
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "MPLBACKEND": "agg",
        "TMPDIR": str(folder),
    }


class _atomic:
    """As core.files.atomic, which Python 3.9 cannot import."""

    def __init__(self, path):
        self.path = Path(path)

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, self.partial = tempfile.mkstemp(prefix=".", suffix=self.path.suffix, dir=self.path.parent)
        os.close(handle)
        return self.partial

    def __exit__(self, kind, error, trace):
        if kind is not None:
            os.unlink(self.partial)
            return
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(self.partial, 0o666 & ~mask)
        os.replace(self.partial, self.path)


class _ended_by_signals:
    """SIGTERM becomes an exception inside the block, so that the worker and the scratch folder go too."""

    def __enter__(self):
        self.before = signal.signal(signal.SIGTERM, self._end)

    def __exit__(self, *error):
        signal.signal(signal.SIGTERM, self.before)

    @staticmethod
    def _end(number, frame):
        raise SystemExit(128 + number)


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def work(plan_path, request_path):
    """The worker's side: run the requested sites of the plan."""
    plan = json.loads(Path(plan_path).read_text(encoding="utf-8"))
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    run(plan, request["numbers"], request["folder"], request["events"], request["results"])


if __name__ == "__main__":
    work(*sys.argv[1:])
