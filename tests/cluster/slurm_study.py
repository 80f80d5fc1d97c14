"""A small study in a checkout of its own, which runs on Slurm or on this machine, and what tests ask of its runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import one_host
import psutil
import pytest
import yaml

import finished_study
from phenoloom.record.events import read_run, read_runs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGETS = ("evaluation", "results/tiny/training/stand_in.parquet")
#: Changes to the profile that users get, so that little time goes by with waiting.
SITE = {
    "slurm-partition-config": "profiles/test/partitions.yaml",
    "slurm-init-seconds-before-status-checks": 9,
    "seconds-between-status-checks": 2,
    "latency-wait": 20,
}

#: Lines that the end of the tests prints.
MEASURED = []


@dataclass
class Study:
    """The tiny study of tests/finished_study.py with one chain, one evaluation and a rule that asks for a GPU."""

    folder: Path
    plugin: Path | None = None

    @classmethod
    def make(cls, folder, plugin=None):
        """Write it into a folder."""
        folder.mkdir()
        finished_study.make(folder)
        config = finished_study.config()
        config["profiles"] = {"default": config["profiles"]["default"]}
        config["datasets"]["screen"]["features"]["cellprofiler"]["minutes_per_job"] = 2  # a plate a job
        config["evaluation"] = {"replicates": config["evaluation"]["replicates"]}
        finished_study.write_config(folder, config)
        shutil.copytree(HERE / "stand_in", folder / "stand_in")
        with open(folder / "Snakefile", "a", encoding="utf-8") as file:
            file.write('\n\ninclude: "stand_in/training.smk"\n')
        study = cls(folder, plugin)
        study.site()
        return study

    def site(self, **changes):
        """Write the profile of the site: the one that users get, with the partitions of the test and some changes."""
        folder = self.folder / "profiles" / "test"
        folder.mkdir(exist_ok=True)
        shutil.copy(HERE / "partitions.yaml", folder)
        profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
        changes = {key.replace("_", "-"): value for key, value in changes.items()}
        (folder / "config.yaml").write_text(yaml.safe_dump({**profile, **SITE, **changes}, sort_keys=False))

    def here(self, *targets):
        """Run on this machine, without Slurm."""
        return finished_study.command(self.folder, "phenoloom", "run", finished_study.CONFIG, *targets, "--cores", "2")

    def submit(self, *targets, **environment):
        """Start a run on Slurm, as `make run PROFILE=...` does; return its Head."""
        command = [sys.executable, "-m", "phenoloom", "run", finished_study.CONFIG, *targets]
        command += ["--workflow-profile", "profiles/test"]
        paths = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.plugin}:{self.folder / 'workflow/lib'}",
            "PHENOLOOM_COMMAND": "the same command",
        }
        earlier = {run.path for run in self.runs()}
        output = self.folder / f"head{len(list(self.folder.glob('head*.txt')))}.txt"
        with open(output, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **paths, **environment},
                stdout=file,
                stderr=file,
                preexec_fn=_can_be_interrupted,
            )
        return Head(self, process, output, earlier)

    def runs(self):
        """The events of all runs, the oldest first."""
        return read_runs(self.folder / "results" / "tiny")

    def tables(self):
        """Content of every table that a user takes away, by its path."""
        results = self.folder / "results" / "tiny"
        patterns = (
            "*/representations/**/*.parquet",
            "*/profiles/**/*.parquet",
            "evaluation*",
            "evaluation/**/*.parquet",
            "training/*.parquet",
        )
        found = sorted(path for pattern in patterns for path in results.glob(pattern) if path.is_file())
        return {path.relative_to(results).as_posix(): path.read_bytes() for path in found}

    def done_twice(self):
        """Outputs of jobs that a run did although an earlier one had finished them."""
        twice, finished = [], set()
        for run in self.runs():
            outputs = {number: set(job["output"]) for number, job in run.jobs.items()}
            twice += [path for paths in outputs.values() for path in paths & finished]
            finished |= {path for number in run.finished for path in outputs[number]}
        return twice

    def measured(self, what, at, rule):
        """Note how long after the time `at` jobs of a rule were submitted again and done, and all was."""
        passed = {"submitted": [], "finished": [], "end": []}
        for run in self.runs():
            for line in filter(None, run.path.read_text(encoding="utf-8").splitlines()):
                try:
                    event = json.loads(line)
                except ValueError:  # cut off where the disk was full
                    continue
                job = run.jobs.get(str(event.get("jobid")), {})
                if event["time"] > at and (event["event"] == "end" or job.get("rule") == rule):
                    passed.setdefault(event["event"], []).append(event["time"] - at)
        again = f"submitted again after {min(passed['submitted']):.0f} s, " if passed["submitted"] else ""
        done = f"done after {max(passed['finished']):.0f} s, the whole study after {max(passed['end']):.0f} s"
        MEASURED.append(f"recovery, {what}: {rule} {again}{done}")

    def starts(self):
        """The step at which each attempt of the training began."""
        path = self.folder / "results/tiny/training/checkpoints/starts.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


@dataclass
class Head:
    """A run on Slurm: its head process, what it printed and its events."""

    study: Study
    process: subprocess.Popen
    output: Path
    earlier: set

    def run(self):
        """The events of this run, once there are any."""
        new = [run for run in self.study.runs() if run.path not in self.earlier]
        return new[-1] if new else None

    def kill(self):
        """kill -9 of the command and of Snakemake, which it started; return when (s since 1970)."""
        for process in (*psutil.Process(self.process.pid).children(), self.process):
            process.send_signal(signal.SIGKILL)
        self.process.wait()
        return time.time()

    def waits_for(self, condition, seconds, what):
        """Wait until a condition holds; a run that ends before, or is too slow for it, fails the test."""

        def holds():
            if found := condition():
                return found
            if self.process.poll() is not None:
                pytest.fail(f"the run ended before {what}\n{self.said()[-6000:]}")

        return one_host.wait_for(holds, seconds, what)

    def finished(self, rule):
        """Numbers of the jobs of a rule that are finished."""
        run = self.run()
        return [number for number in run.finished if run.jobs[number]["rule"] == rule] if run else []

    def running(self, rule):
        """Wait until a job of a rule runs, with processes of its own; return it."""

        def found():
            jobs = [job for job in one_host.jobs() if job["state"] == "RUNNING"]
            jobs = [job for job in jobs if job["comment"].startswith(f"rule_{rule}")]
            return next((job for job in jobs if one_host.processes(SLURM_JOB_ID=job["id"])), None)

        return self.waits_for(found, 600, f"a job of {rule} runs")

    def said(self):
        """What it printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds=1200):
        """Wait for its end; return its exit status. A head that hangs is killed and fails the test."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the run did not end within {seconds} s\n{self.said()[-6000:]}")

    def finish(self):
        """Wait for its good end; return its Run."""
        if self.wait() != 0:
            pytest.fail(f"the run failed\n{self.said()[-8000:]}")
        return read_run(self.run().path)


def _can_be_interrupted():
    """Ctrl-C ends a run also where the tests themselves run in the background, which ignores it for all children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def numbers(run):
    """The numbers of all jobs of a run in Slurm."""
    return [number for submitted in run.slurm_jobs.values() for number in submitted]


@dataclass
class Disk:
    """A folder on a disk of its own, in memory, which can be filled up without harm."""

    folder: Path

    def mount(self):
        """Put what the folder holds on the disk. Raises RuntimeError where this is not allowed."""
        aside = self.folder.with_name(f"{self.folder.name} aside")
        self.folder.rename(aside)
        self.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "tmpfs", str(self.folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        shutil.copytree(aside, self.folder, dirs_exist_ok=True)

    def unmount(self):
        """Give it back; what it holds is gone."""
        subprocess.run(["umount", "--lazy", self.folder], check=False)

    def leave_free(self, kilobytes):
        """Make the disk so small that this much is free."""
        state = os.statvfs(self.folder)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={used // 1024 + kilobytes}k", self.folder], check=True)

    def make_room(self):
        """Make the disk as large as any."""
        subprocess.run(["mount", "-o", "remount,size=1g", self.folder], check=True)
