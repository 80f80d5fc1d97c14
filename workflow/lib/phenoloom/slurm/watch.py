"""While a run's jobs are in Slurm's queue: which wait for what never comes, and which are gone without a word.

Snakemake waits in silence for a job that cannot start, and for ever for one whose end it did not see.
"""

import contextlib
import re
import sys
import threading
import time

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.slurm import client

#: Seconds between two looks, so that what lasts two of them is said within two minutes.
INTERVAL = 45
#: Seconds after which a job that is nowhere to be seen is given up.
GIVEN_UP = 120
#: The same for a job whose end Snakemake should have seen: it looks every three minutes, and then waits for files.
OVERDUE = 1800
#: Numbers of jobs that a sentence names.
NAMED = 3

#: Why a job waits that never starts as it is: the first words of Slurm's reason, what it means, what mends it.
_NEVER = (
    (
        "PartitionTimeLimit",
        "they ask for more time than their partition gives",
        "state its max_runtime in the file of partitions, so that they go to another one",
    ),
    (
        "PartitionNodeLimit|PartitionConfig|PartitionM(ax|in)Nodes",
        "their partition has no node for what they ask",
        "state its limits in the file of partitions, so that they go to another one",
    ),
    ("BadConstraints", "no node has what they ask for", "look at their constraint, memory, CPUs and GPUs"),
    ("MaxMemPerLimit", "they ask for more memory than their partition gives", "state its max_mem_mb"),
    (
        r"(Assoc|QOS)Max\w*Per(Job|Node)|AssociationTimeLimit|QOSTimeLimit",
        "each asks for more than a job of this account or QOS may",
        "see `sacctmgr show assoc` and `sacctmgr show qos`, and take another slurm_account or slurm-qos",
    ),
    (r"QOSMin\w+", "they ask for less than their QOS wants", "take another slurm-qos"),
    (
        "InvalidAccount|AccountNotAllowed|AssocNotAllowed",
        "their partition does not take this account",
        "set slurm_account in the profile",
    ),
    ("InvalidQOS|QOSNotAllowed", "their partition does not take this QOS", "set slurm-qos in the profile"),
    (
        "JobHeldUser|JobHeldAdmin|JobHoldMaxRequeue",
        "they are held",
        "`scontrol release` lets them go, or ask the administrators",
    ),
    (
        "launch.failed|JobLaunchFailure",
        "they could not be started on their node and are held",
        "`scontrol release` tries again; ask the administrators when it recurs",
    ),
    ("DependencyNeverSatisfied", "the job that they depend on failed", "cancel them with scancel"),
    ("ReservationDeleted", "their reservation is gone", "take slurm-reservation out of the profile"),
)
#: Why a job waits that starts when something outside of the run changes.
_LATER = (
    (
        "ReqNodeNotAvail.*maintenance",
        "a maintenance is planned before they could end",
        "they start after it, or sooner when they ask for less runtime",
    ),
    (
        "ReqNodeNotAvail|Nodes.required.for.job|NodeDown|NodeNotAvail",
        "all nodes that fit them are down, drained or reserved",
        "`sinfo -R` tells why and for how long; another partition may fit them",
    ),
    ("PartitionDown|PartitionInactive", "their partition is out of use", "`sinfo` tells which are not"),
    ("Reservation", "their reservation has not begun or is full", "`scontrol show reservation` tells more"),
    ("Licenses", "they wait for a licence", "`scontrol show licenses` tells more"),
    (
        r"(Assoc|QOS)Grp\w*Minutes\w*|QOSUsageThreshold",
        "the account or QOS has used up its budget of time, or what runs has reserved the rest",
        "`sshare` tells what is left; another slurm_account may have some",
    ),
    (
        r"AssocGrp\w+|QOSGrp\w+|\w+PerAccount|AssociationResourceLimit|QOSResourceLimit",
        "the account or QOS has all that it may have at once",
        "they start when its other jobs end, or never if one job asks for more than that",
    ),
    (
        r"(Assoc|QOS)\w*(Max|PerUser)\w*|AssociationJobLimit|QOSJobLimit",
        "you have as many jobs or CPUs as you may have at once",
        "they start when others of yours end; fewer `jobs` in the profile keep the queue short",
    ),
)
#: States that the plugin takes for the end of a job; it waits on for others, such as `PREEMPTED` or `CANCELLED by 0`.
_ENDS = {"COMPLETED", "BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
#: States of a job that has not ended.
_ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "RESIZING"}


def explain(reason):
    """(whether it never ends by itself, what it means, what mends it) for a reason that Slurm gives; None if usual.

    `Priority`, `Resources` and the like are how queues work and need no words.
    """
    for never, table in ((True, _NEVER), (False, _LATER)):
        for pattern, meaning, mend in table:
            if re.match(pattern, reason, re.I):
                return never, meaning, mend
    return None


def waiting(names):
    """One sentence for each reason, out of the usual, for which jobs with these names wait."""
    return [sentence(reason, numbers) for reason, numbers in _by_reason(client.queue_named(names)).items()]


def sentence(reason, numbers, rules=None):
    """What is to be said of jobs that wait for one reason; rules: {number: its rule} where that is known."""
    _, meaning, mend = explain(reason)
    kind = "Slurm job waits" if len(numbers) == 1 else "Slurm jobs wait"
    return f"{len(numbers)} {kind}, since {meaning} ({_short(reason)}): {_list(numbers, rules)}; {mend}"


def _by_reason(queue):
    found = {}
    for number, (state, reason) in sorted(queue.items()):
        if state == "PENDING" and explain(reason):
            found.setdefault(reason, []).append(number)
    return found


def _short(reason):
    return reason if len(reason) <= 60 else reason[:57] + "..."


def _list(numbers, rules=None):
    rules = rules or {}
    numbers = sorted(numbers, key=lambda number: (len(number), number))
    named = [f"{number} (rule {rules[number]})" if number in rules else number for number in numbers[:NAMED]]
    more = f" and {count(len(numbers) - NAMED, 'other')}" if len(numbers) > NAMED else ""
    return ", ".join(named) + more


class Watch:
    """Looks at a run's jobs from time to time and says what its user should know, each thing once.

    read: function that gives the run so far (a record.events.Run). status_command: what Snakemake asks for the state
    of its jobs, `squeue` or `sacct`. again: the command that continues the run. stops: whether someone stops a run
    that `look` finds to wait for nothing.
    """

    def __init__(self, read, say, status_command="squeue", again="the same command", stops=False):
        self._read, self._say = read, say
        self._status_command, self._again = status_command, again
        self._stop = "the run will be stopped" if stops else "stop the run with Ctrl-C"
        self._said = set()
        self._before = set()  # reasons that jobs waited for at the last look
        self._missing = {}  # number: when it was first not to be seen
        self._silent_since = None

    def look(self, now=None):
        """Look once; return whether the run waits for nothing but jobs that are gone, and so will never end.

        now: seconds of a clock that only goes forward, for tests.
        """
        now = time.monotonic() if now is None else now
        run = self._read()
        if run is None or not run.slurm_names:
            return False
        try:
            queue = client.queue_named(run.slurm_names)
            lost = self._lost(run, queue, now)
        except InputError as error:
            self._no_answer(error, now)
            return False
        self._silent_since = None
        self._said.discard("silent")
        self._say_waiting(queue, rules_of(run))
        self._say_lost(lost, rules_of(run))
        return bool(lost) and not queue and lost >= open_jobs(run) and not elsewhere(run)

    def _say_waiting(self, queue, rules):
        """What never ends is said at once, what may end when it has lasted until the next look."""
        found = _by_reason(queue)
        for reason, numbers in found.items():
            if reason not in self._said and (explain(reason)[0] or reason in self._before):
                self._said.add(reason)
                self._say(sentence(reason, numbers, rules))
        self._before = set(found)

    def _lost(self, run, queue, now):
        """Numbers of jobs that have ended so that Snakemake does not see it, for longer than a hiccup lasts."""
        gone, states = open_jobs(run) - set(queue), {}
        if gone:
            states = client.states_named(run.slurm_names, self._status_command)
        gone = {number for number in gone if states.get(number) not in _ALIVE}
        self._missing = {number: self._missing.get(number, now) for number in gone}
        patience = {number: OVERDUE if states.get(number) in _ENDS else GIVEN_UP for number in gone}
        return {number for number in gone if now - self._missing[number] >= patience[number]}

    def _say_lost(self, lost, rules):
        new = {number for number in lost if ("lost", number) not in self._said}
        if new:
            self._said |= {("lost", number) for number in new}
            kind = "job is" if len(new) == 1 else "jobs are"
            self._say(
                f"{len(new)} Slurm {kind} gone without an end that Snakemake can see (cancelled, preempted, or "
                f"forgotten by Slurm): {_list(new, rules)}; {self._stop} when the other jobs are done, and "
                f"{self._again} continues it"
            )

    def _no_answer(self, error, now):
        if self._silent_since is None:
            self._silent_since = now
        elif "silent" not in self._said:
            self._said.add("silent")
            self._say(f"{error}; jobs that run go on, and this run waits until Slurm answers again")


def open_jobs(run):
    """Numbers at Slurm of the jobs of a run that it neither saw end nor fail; groups of jobs are left out."""
    return {
        run.slurm_jobs[job][-1]
        for job in run.jobs
        if run.state(job) == "open" and len(run.slurm_jobs.get(job, ())) > len(run.errors.get(job, ()))
    }


def elsewhere(run):
    """Whether jobs are at work that are not in Slurm: on this machine, or just being submitted."""
    return any(run.state(job) == "open" and run.attempts[job] > len(run.slurm_jobs.get(job, ())) for job in run.jobs)


def rules_of(run):
    """The rule of each Slurm job of a run: {number: rule}."""
    return {
        number: run.jobs[job]["rule"]
        for job, numbers in run.slurm_jobs.items()
        if job in run.jobs
        for number in numbers
    }


def say(text):
    """Print a sentence amid what Snakemake prints."""
    print(f"note: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def watching(read, say=say, status_command="squeue", again="the same command", hopeless=None, interval=INTERVAL):
    """Watch a run's jobs in a thread while the block lasts; arguments as those of Watch.

    hopeless: called, once, when the run waits for nothing but jobs that are gone; it may end the run.
    """
    watch, done = Watch(read, say, status_command, again, hopeless is not None), threading.Event()

    def loop():
        while not done.wait(interval):
            with contextlib.suppress(OSError):  # the event file may not be readable for a moment
                if watch.look() and hopeless:
                    hopeless()
                    return

    thread = threading.Thread(target=loop, name="slurm-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()  # not joined: a look at a silent cluster takes half a minute, and nobody waits for it
