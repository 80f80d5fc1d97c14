"""Why a job failed, in words: what Slurm, Snakemake and the job's own log say, the most telling of them first."""

import re
import signal
from dataclasses import dataclass

from phenoloom.core.words import count


@dataclass(frozen=True)
class Reason:
    """A kind (one of KINDS) and a sentence for people."""

    kind: str
    words: str


#: Kinds of failure; the sentence beside a kind tells how to mend all failures of it.
KINDS = {
    "memory": "More memory for a rule: --set-resources RULE:mem_mb=8000, or set-resources in the profile.",
    "time": "More time for a rule: --set-resources RULE:runtime=120 (minutes), or set-resources in the profile.",
    "refused": "What Slurm does not take is mended in the profile: partitions, account, resources.",
    "node": "",
    "cancelled": "",
    "killed": "",
    "crashed": "",
    "no output": "",
    "error": "",
    "unknown": "",
}
#: What Slurm says of a job that it ended.
SLURM_STATES = {
    "OUT_OF_MEMORY": ("memory", "it needed more than its {mem_mb} MB of memory"),
    "TIMEOUT": ("time", "it needed more than its {runtime} min"),
    "DEADLINE": ("time", "its deadline passed"),
    "NODE_FAIL": ("node", "its node failed"),
    "BOOT_FAIL": ("node", "its node did not start"),
    "PREEMPTED": ("cancelled", "it was preempted"),
    "REVOKED": ("cancelled", "its cluster gave it back"),
    "CANCELLED": ("cancelled", "it was cancelled"),
}
#: What Slurm's own lines in the log of a job mean, the surest first. A step is CANCELLED whatever ended it.
SLURM_LINES = {
    re.compile(r"exceeded (job )?memory limit|oom[_ -]?kill|out of memory", re.I): "OUT_OF_MEMORY",
    re.compile(r"due to time limit", re.I): "TIMEOUT",
    re.compile(r"due to preemption", re.I): "PREEMPTED",
    re.compile(r"due to node failure|node failure on", re.I): "NODE_FAIL",
    re.compile(r"CANCELLED AT"): "CANCELLED",
}
#: What signals mean; crashes come from the program itself.
SIGNALS = {
    "SIGKILL": ("killed", "it was killed, most often for want of memory (it had asked for {mem_mb} MB)"),
    "SIGTERM": ("killed", "it was told to end (SIGTERM), by who stopped the run or by the machine"),
    "SIGINT": ("killed", "it was interrupted (Ctrl-C)"),
    "SIGHUP": ("killed", "its terminal was closed (SIGHUP)"),
    "SIGXCPU": ("time", "it used up its processor time (SIGXCPU)"),
    **{
        name: ("crashed", f"its program crashed ({name})")
        for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
    },
}

_STATE = re.compile(r"SLURM status is: '(\w+)")
_REFUSED = re.compile(r"sbatch: error: (?:Batch job submission failed: )?([^\n]+)")
_ABSENT = re.compile(r"^(.+) \(missing locally", re.M)
_FROM_SLURM = re.compile(r"(slurmstepd|srun|slurmd|slurm_script)\S*: ")
_EXCEEDED = re.compile(r"exceeded memory limit \((\d+) > \d+\)")
_ENDED = re.compile(r"died with <Signals\.(SIG\w+)|returned non-zero exit status (\d+)")
_HOST = re.compile(r"^\s*Host: (\S+)$", re.M | re.I)
_STATED = re.compile(r"(error: |[\w.]+(Error|Exception|Interrupt)\b)")


def reason(said, resources, logs, slurm_logs=(), ask=dict):
    """Why a job failed.

    said: message of the error. resources: what the job had. logs, slurm_logs: paths of the rule's log and of Slurm's.
    ask: called when nothing else tells, returns what Slurm knows of the job. Returns a Reason.
    """
    lines = [line for path in slurm_logs for line in tail(path)]
    both = "\n".join([*lines, said])
    looks = (
        lambda: _refused(said),
        lambda: _by_slurm(said, lines),
        lambda: _not_written(both),
        lambda: _by_signal(both),
        lambda: _first(_stated, logs),
        lambda: _by_answer(ask()),
        lambda: _first(_last, logs),
        lambda: _by_status(both),
    )
    kind, words = next(filter(None, (look() for look in looks)), ("unknown", "it left no message"))
    return Reason(kind, words.format_map({"mem_mb": "allotted", "runtime": "allotted", **resources}))


def node(slurm_logs):
    """Name of the node that a job ran on, from Slurm's log of it; empty when that does not tell."""
    for path in slurm_logs:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                head = file.read(5000)
        except OSError:
            continue
        if found := re.search(r"slurmstepd-(\S+): ", "\n".join(tail(path))) or _HOST.search(head):
            return found[1]
    return ""


def tail(path, size=20_000):
    """The last lines of a file without their margins, empty ones left out; none where there is no file."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - size, 0))
            return [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return []


def _refused(said):
    sentences = [_braces(sentence.strip().rstrip("'.")) for sentence in _REFUSED.findall(said)]
    if sentences:
        return "refused", "Slurm did not take it: " + "; ".join(dict.fromkeys(sentences))
    return ("refused", "it could not be handed to Slurm") if "submission failed" in said else None


def _not_written(said):
    _, exception, after = said.rpartition("MissingOutputException")
    if not exception:
        return None
    absent = [path.rpartition("/")[2] for path in _ABSENT.findall(after)]
    which = absent[0] if len(absent) == 1 else count(len(absent), "file") if absent else "its output"
    return "no output", _braces(f"it ended without an error, but did not write {which}")


def _by_slurm(said, lines):
    """How Slurm ended the job: as it says itself, where that is more than that it failed, else as its lines say."""
    state = (_STATE.search(said) or [None, ""])[1]
    own = [line for line in lines if _FROM_SLURM.match(line)]
    if state in ("", "FAILED", "CANCELLED"):
        meant = (name for pattern, name in SLURM_LINES.items() if any(pattern.search(line) for line in own))
        state = next(meant, state)
    if state not in SLURM_STATES:
        return None
    kind, words = SLURM_STATES[state]
    used = max((int(found[1]) for line in own if (found := _EXCEEDED.search(line))), default=0)
    return kind, words + (f" ({used / 2**20:,.0f} MB when Slurm ended it)" if used and kind == "memory" else "")


def _by_signal(said):
    """The signal that ended the job, which Snakemake names or a shell gives as 128 and its number."""
    names = [name or _signal_name(int(status) - 128) for name, status in _ENDED.findall(said)]
    return next((SIGNALS[name] for name in names if name in SIGNALS), None)


def _by_status(said):
    status = next((status for _, status in _ENDED.findall(said) if status), None)
    return ("unknown", f"its command ended with exit status {status} and no message") if status else None


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _by_answer(known):
    """What Slurm knows of a job (see client.details); nothing where it knows no more than that it failed."""
    state, code = known.get("JobState", ""), known.get("ExitCode", "").rpartition(":")[2]
    if state in SLURM_STATES:
        return SLURM_STATES[state]
    return SIGNALS.get(_signal_name(int(code))) if code.isdigit() else None


def _first(look, paths):
    return next(filter(None, map(look, paths)), None)


def _stated(path):
    """The last line of a log that states an error."""
    stated = [line for line in tail(path) if _STATED.match(line)]
    if not stated:
        return None
    return "memory" if "MemoryError" in stated[-1] else "error", _braces(stated[-1])


def _last(path):
    lines = tail(path)
    return ("unknown", _braces(f"its log ends with: {lines[-1]}")) if lines else None


def _braces(text):
    return text.replace("{", "{{").replace("}", "}}")
