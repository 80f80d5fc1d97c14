"""Slurm's own commands as functions: none waits longer than TIMEOUT, and what goes wrong is an InputError."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess
import time

from phenoloom.core.errors import InputError

#: Seconds that a command may take. Slurm's own wait for a controller that is down ends before.
TIMEOUT = 30
#: Seconds between two looks at the queue.
INTERVAL = 2
#: Arguments that one command line takes at most.
CHUNK = 200
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
#: A user's own defaults for these commands would filter the answer, or make scancel ask back.
_USERS_DEFAULTS = ("SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")
_NO_ANSWER = re.compile(
    r"unable to contact|timed out|connection refused|connect failure|zero bytes|not responding", re.I
)
#: States of a job that has not ended.
_ALIVE = (
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "REQUEUED",
    "RESIZING",
    "SIGNALING",
)
#: What goes before the reason in a message: the command, the call, the job.
_SAYER = re.compile(r"^(\S+: (error|fatal): )?(slurm_\w+( error)?: |Kill job error on job id \S+: )?")
#: What a node that takes no jobs is called, for now or for good.
_OUT_OF_USE = re.compile(r"^down|drain|fail|error|unknown|future|maint|\*$", re.I)


def missing():
    """Which of Slurm's commands are not on the PATH."""
    return [name for name in COMMANDS if not shutil.which(name)]


def available():
    """Whether Slurm's commands are on the PATH; nothing is asked of the cluster."""
    return not missing()


def jobs_named(names):
    """State of every job of this user with one of these names: {number: state}.

    What still runs or waits is there, what is being cleaned up too (COMPLETING); what has ended is not.
    """
    return {number: state for number, (state, _) in queue_named(names).items()}


def queue_named(names):
    """The same with the reason of each, for which it waits (`Priority`) or `None`: {number: (state, reason)}."""
    found = {}
    for some in _chunks(sorted(set(names))):
        found.update({number: (state, why) for number, state, why in _queue(f"--name={','.join(some)}")})
    return found


def states_named(names, command="squeue"):
    """Jobs with one of these names, ended ones too, {number: state}, as `squeue` or `sacct` tells.

    squeue knows what has ended for MinJobAge seconds, sacct for two days here. States are Slurm's, such as
    `COMPLETED`, `FAILED`, or sacct's `CANCELLED by 1000`.
    """
    found = {}
    for some in _chunks(sorted(set(names))):
        name = f"--name={','.join(some)}"
        if command == "sacct":
            words = ("-X", "-n", "-P", "--format=JobIDRaw,State", "--starttime=now-2days", name)
            rows = [line.split("|") for line in _answer("sacct", *words).splitlines()]
        else:
            rows = _queue("--states=all", name)
        found.update({row[0]: row[1] for row in rows if len(row) > 1})
    return found


def cancel(numbers):
    """Cancel these jobs; those that have ended already are passed over."""
    for some in _chunks(sorted(set(map(str, numbers)))):
        done = _run("scancel", *some)
        wrong = [
            line
            for line in done.stderr.splitlines()
            if line.strip() and not re.search("invalid job id|already complet", line, re.I)
        ]
        if done.returncode and wrong:
            raise InputError(_sentence("scancel", "\n".join(wrong)))


def wait_until_gone(numbers, seconds):
    """Wait until none of these jobs is in the queue, at most so many seconds; return those that still are."""
    numbers, end = set(map(str, numbers)), time.monotonic() + seconds
    while numbers:
        numbers &= {number for number, _, _ in _queue()}
        if not numbers or time.monotonic() >= end:
            break
        time.sleep(min(INTERVAL, max(0.0, end - time.monotonic())))
    return numbers


def details(number):
    """What Slurm knows about a job, in the words of `scontrol show job` (JobState, Reason, ExitCode, NodeList ...).

    Slurm forgets an ended job after some minutes; then what the accounting holds under the same words, with the
    most memory of its steps as MaxRSS (such as `251.3M`). Empty where nothing is known.
    """
    done = _run("scontrol", "show", "job", "-o", str(number))
    if done.returncode == 0 and done.stdout.strip():
        return _fields(done.stdout.strip().splitlines()[0])
    if not re.search("invalid job id", done.stderr + done.stdout, re.I):
        raise InputError(_sentence("scontrol", done.stderr))
    return _accounted(number)


#: The accounting's word for each word of scontrol.
_ACCOUNTED = {
    "JobId": "JobID",
    "JobName": "JobName",
    "JobState": "State",
    "Reason": "Reason",
    "ExitCode": "ExitCode",
    "Partition": "Partition",
    "NodeList": "NodeList",
    "SubmitTime": "Submit",
    "StartTime": "Start",
    "EndTime": "End",
    "MaxRSS": "MaxRSS",
}


def _accounted(number):
    if not shutil.which("sacct"):
        return {}
    words = ",".join(_ACCOUNTED.values())
    done = _run("sacct", "-n", "-P", "--units=M", "-j", str(number), f"--format={words}")
    rows = [dict(zip(_ACCOUNTED, line.split("|"), strict=False)) for line in done.stdout.splitlines() if "|" in line]
    if done.returncode or not rows:
        return {}
    job = rows[0]
    job["JobState"] = job["JobState"].split()[0]  # `CANCELLED by 1000`
    job["MaxRSS"] = max((row.get("MaxRSS", "") for row in rows), key=_megabytes)
    return {word: value for word, value in job.items() if value}


def partitions():
    """The cluster's partitions, as limits on one job of one node: {name: {...}}.

    max_minutes (None: no limit), memory_mb, cpus and gpus (of the best node; gpus is 0 where there is none),
    gpu_models (set of the site's names for them), state (`UP`, `DOWN`, `DRAIN`, `INACTIVE`), default (whether jobs
    go there that name none), accounts (those that may use it, None: all) and nodes (how many can take jobs).
    """
    found = {}
    for line in _answer("scontrol", "-a", "show", "partition", "-o").splitlines():
        if line.startswith("PartitionName="):
            fields = _fields(line)
            found[fields["PartitionName"]] = fields
    nodes = {name: [] for name in found}
    for line in _answer("sinfo", "-h", "-a", "-e", "-o", "%R|%m|%c|%G|%T|%D").splitlines():
        name, *rest = line.split("|")
        if name in nodes and len(rest) == 5:
            nodes[name].append(rest)
    return {name: _partition(fields, nodes[name]) for name, fields in found.items()}


def _partition(fields, nodes):
    """nodes: rows of memory, CPUs, generic resources, state and number of nodes that are alike."""
    gpus = [gpu for row in nodes for gpu in _gpus(row[2])]
    memory = max((_integer(row[0]) for row in nodes), default=0)
    cpus = max((_integer(row[1]) for row in nodes), default=0)
    accounts = fields.get("AllowAccounts", "ALL")
    return {
        "max_minutes": minutes(fields.get("MaxTime", "UNLIMITED")),
        "memory_mb": min(memory, _integer(fields.get("MaxMemPerNode"), memory)),
        "cpus": min(cpus, _integer(fields.get("MaxCPUsPerNode"), cpus)),
        "gpus": max((sum(count for _, count in _gpus(row[2])) for row in nodes), default=0),
        "gpu_models": {model for model, _ in gpus if model},
        "state": fields.get("State", "UP"),
        "default": fields.get("Default") == "YES",
        "accounts": None if accounts == "ALL" else set(accounts.split(",")),
        "nodes": sum(_integer(row[4]) for row in nodes if not _OUT_OF_USE.search(row[3])),
    }


def minutes(text):
    """Minutes of a time as Slurm writes it (`1-00:00:00`, `01:30:00`, `30:00`), None for no limit.

    A number alone is minutes, as it is for sbatch. Raises ValueError for what is no time.
    """
    if str(text).upper() in ("UNLIMITED", "INFINITE", "NONE", "N/A"):
        return None
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(text).strip())
    if not found:
        raise ValueError(f"{text} is no time")
    days, first, second, third = found.groups()
    if days is None and third is None:  # minutes, or minutes:seconds
        return int(first)
    return int(days or 0) * 1440 + int(first) * 60 + int(second or 0)


def accounting():
    """Whether the cluster keeps accounts of jobs that have ended, and `sacct` can read them."""
    if not shutil.which("sacct") or not _setting("AccountingStorageType").endswith("slurmdbd"):
        return False
    try:
        return _run("sacct", "-n", "-X", "-P", "--format=JobID", "--starttime=now-1minute").returncode == 0
    except InputError:
        return False


def associations():
    """What this user may charge and ask for: [(account, {quality of service, ...})]; None where nobody keeps it."""
    if not shutil.which("sacctmgr"):
        return None
    try:
        done = _run("sacctmgr", "-n", "-P", "show", "assoc", f"user={getpass.getuser()}", "format=Account,QOS")
    except InputError:
        return None
    rows = [line.split("|") for line in done.stdout.splitlines() if "|" in line]
    if done.returncode or not rows:
        return None
    return [(account, set(filter(None, qualities.split(",")))) for account, qualities, *_ in rows]


def min_job_age():
    """Seconds for which Slurm remembers a job that has ended (MinJobAge); 0: for as long as its controller runs."""
    return _integer(_setting("MinJobAge"), 300)


def _setting(name):
    """A line `name = value` of Slurm's configuration; empty where there is none."""
    found = re.search(rf"^{name}\s*= *(.*)$", _answer("scontrol", "show", "config"), re.M)
    return found[1].strip() if found else ""


def _queue(*options):
    """Number, state and reason of this user's jobs that have not ended."""
    lines = _answer("squeue", "--me", "-h", "-o", "%i|%T|%r", *options).splitlines()
    return [tuple(parts) for line in lines if len(parts := line.strip().split("|", 2)) == 3]


def _fields(line):
    """The words of one line `Key=value Key=value`; values may hold blanks and equal signs."""
    found = re.findall(r"(?:^|\s)([A-Za-z][\w:/]*)=(.*?)(?=\s+[A-Za-z][\w:/]*=|\s*$)", line)
    return {key: value.strip() for key, value in found}


def _gpus(resources):
    """(model or None, number) of each kind of GPU in a node's generic resources: `gpu:a100:4(S:0-1),nvme:1`."""
    found = []
    for part in re.sub(r"\([^)]*\)", "", resources).split(","):
        name, *rest = part.strip().split(":")
        if name == "gpu":
            number = _integer(rest[-1]) if rest and rest[-1][:1].isdigit() else 1
            found.append((rest[0] if rest and not rest[0][:1].isdigit() else None, number))
    return found


def _integer(text, otherwise=0):
    """The number that a text begins with (`4000+`, `300 sec`), another value where there is none (`UNLIMITED`)."""
    found = re.match(r"\d+", str(text))
    return int(found[0]) if found else otherwise


def _megabytes(text):
    found = re.match(r"[\d.]+", text)
    return float(found[0]) if found else 0.0


def _chunks(items):
    return [items[first : first + CHUNK] for first in range(0, len(items), CHUNK)]


def _answer(command, *arguments):
    """What a command prints. Raises InputError when it fails."""
    done = _run(command, *arguments)
    if done.returncode:
        raise InputError(_sentence(command, done.stderr or done.stdout))
    return done.stdout


def _run(command, *arguments):
    """Run a command of Slurm to its end or for TIMEOUT seconds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_USERS_DEFAULTS)}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            [command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # some sites wrap these commands in scripts: all of it must end
        )
    except FileNotFoundError:
        raise InputError(without(command)) from None
    except OSError as error:
        raise InputError(f"Slurm's command {command} cannot be started: {error.strerror}") from None
    try:
        out, errors = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise InputError(f"Slurm does not answer: {command} gave nothing for {TIMEOUT} s; {_LATER}") from None
    except BaseException:
        _kill(process)
        raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, errors)
    if done.returncode and _NO_ANSWER.search(errors):
        raise InputError(_sentence(command, errors))
    return done


def _kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


_LATER = "try again later, or ask the cluster's administrators"


def without(*commands):
    """The sentence for commands that are not there."""
    which = f"command {commands[0]} is" if len(commands) == 1 else f"commands {', '.join(commands)} are"
    return (
        f"Slurm's {which} not on the PATH; start the run on a login node of the cluster (some sites want "
        "`module load slurm` first), or leave out the cluster's profile to run on this machine"
    )


def _sentence(command, errors):
    """One sentence for what a command of Slurm says went wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    reason = _SAYER.sub("", lines[-1]) if lines else "it gave no reason"
    if "configuration source" in reason:
        return "Slurm's commands are here, but no cluster's configuration (slurm.conf): start the run on a login node"
    if _NO_ANSWER.search(errors):
        return f"Slurm does not answer ({reason}); {_LATER}"
    return f"Slurm's command {command} failed: {reason}"
