"""Memory of every rule of a study: what its jobs ask for against what they took.

    python benchmarks/memory.py run config/config.yaml [--cores 2]      # runs what is due, sampled every 50 ms
    python benchmarks/memory.py finished results/demo                   # from Snakemake's benchmark tables

Prints per rule: jobs, MB asked for at the first attempt, peak, and how many times the peak was asked for, each of
the job where the two come closest. The peak is that of a job's processes together (resident set sizes, or the kernel's
own high-water mark where that of one process is higher), plus those of Snakemake that a cluster puts into a job's
allocation, measured on one job of the study. The tables of `finished` are sampled rarely and miss short peaks. MB are
2^20 bytes, as Slurm counts. Needs Linux; run it in the main environment (`make env`).
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import pandas as pd
import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.record.events import read_runs  # noqa: E402

INTERVAL = 0.05

#: Processes of Snakemake in a job's allocation: the one that Slurm starts, and the one that it starts as a job step.
SNAKEMAKES = 2


class Sampler(threading.Thread):
    """Watches the processes below this one; `peaks` is {log of a job: MB of its processes together}.

    A job is told by its log, into which its rule sends what it prints.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.peaks = defaultdict(float)
        self._stopped = threading.Event()

    def run(self):
        own = psutil.Process()
        while not self._stopped.wait(INTERVAL):
            totals = defaultdict(float)
            for job, resident, highest in _processes(own):
                totals[job] += resident
                self.peaks[job] = max(self.peaks[job], highest)
            for job, total in totals.items():
                self.peaks[job] = max(self.peaks[job], total)

    def stop(self):
        self._stopped.set()
        self.join()


def _processes(root):
    """(log, resident MB, highest resident MB so far) of every process below `root` that belongs to a job."""
    logs = {}
    for process in root.children(recursive=True):  # parents come before their children
        try:
            said = os.readlink(f"/proc/{process.pid}/fd/1")
            job = said if "/logs/" in said and said.endswith(".log") else logs.get(process.ppid())
            if job is None:
                continue
            logs[process.pid] = job
            yield job, *_resident(process.pid)
        except (OSError, psutil.Error, KeyError):
            continue  # it has just ended


def _resident(pid):
    """(resident set size, its highest value so far) of a process in MB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def watch(command, folder, results):
    """Run a command that runs Snakemake in `folder`: one row per job that it ran: rule, job, asked and peak in MB."""
    before = {run.path for run in read_runs(results)}
    sampler = Sampler()
    sampler.start()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/lib")}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)
    sampler.stop()
    if done.returncode:
        sys.exit("the run failed")
    rows = []
    for run in read_runs(results):
        for job in _finished(run) if run.path not in before else ():
            log = str(Path(folder, job["log"][0]).resolve())
            rows.append({**_described(job), "peak": sampler.peaks.get(log)})
    return pd.DataFrame(rows)


def finished(results):
    """The same of a study that ran, from its events and Snakemake's benchmark tables."""
    folder = Path(results).resolve().parents[1]
    rows = {}
    for run in read_runs(results):
        for job in _finished(run):
            path = folder / job["benchmark"]
            if path.exists():
                peak = pd.read_csv(path, sep="\t", na_values=["-", "NA"])["max_rss"].max()
                rows[path] = {**_described(job), "peak": peak}
    return pd.DataFrame(rows.values())


def _finished(run):
    """Events of the jobs of a run that finished; targets have no log."""
    return [run.jobs[number] for number in sorted(run.finished, key=int) if run.jobs[number]["log"]]


def _described(job):
    return {"rule": job["rule"], "job": " ".join(job["wildcards"].values()), "asked": job["resources"]["mem_mb"]}


def snakemake_mb():
    """MB of the Snakemake processes of a job on a cluster: those of a small job of the demo, started as there."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--mode", "subprocess"]
    command += ["--target-jobs", "simulation_truth:dataset=plates1", "--allowed-rules", "simulation_truth"]
    highest = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("config", "resources", "profiles", "workflow"):
            Path(folder, name).symlink_to(ROOT / name)
        process = subprocess.Popen([*command, "--cores", "1", "--quiet", "all"], cwd=folder)
        while process.poll() is None:
            with contextlib.suppress(OSError, KeyError):  # it has just ended
                highest = max(highest, _resident(process.pid)[1])
            time.sleep(INTERVAL)
    if process.returncode:
        sys.exit("Snakemake failed")
    return SNAKEMAKES * highest


def per_rule(jobs, added):
    """One row per rule: jobs, and asked, peak (with what Snakemake adds) and ratio of the job with the least ratio."""
    jobs = jobs.assign(peak=jobs["peak"] + added)
    jobs["ratio"] = jobs["asked"] / jobs["peak"]
    tightest = jobs.loc[jobs.groupby("rule")["ratio"].idxmin()].set_index("rule")
    tightest.insert(0, "jobs", jobs.groupby("rule").size())
    return tightest.sort_values("peak", ascending=False)


def show(jobs, added, every=False):
    """Print the table; with `every` one row per job."""
    print(f"Snakemake's own processes take {added:.0f} MB of each peak")
    rows = jobs.assign(rule=jobs["rule"] + " " + jobs["job"]) if every else jobs
    print(per_rule(rows, added).round({"asked": 0, "peak": 0, "ratio": 2}).to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="what", required=True)
    run = commands.add_parser("run", help="run a study and sample its jobs")
    run.add_argument("config")
    run.add_argument("--target", default="all")
    run.add_argument("--cores", default="2")
    run = commands.add_parser("finished", help="read the benchmark tables of a study that ran")
    run.add_argument("results")
    given = parser.parse_args()
    if given.what == "run":
        command = [sys.executable, "-m", "phenoloom", "run", given.config, given.target, "--cores", given.cores]
        results = Path("results", yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))["study"])
        jobs = watch([*command, "--quiet", "all"], Path.cwd(), results)
    else:
        jobs = finished(given.results)
    show(jobs, snakemake_mb())


if __name__ == "__main__":
    main()
