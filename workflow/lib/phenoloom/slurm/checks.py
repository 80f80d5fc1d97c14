"""Before a run on a cluster: can it go there? What cannot be is said in one sentence, before anything is submitted."""

import contextlib
import difflib
import getpass
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from phenoloom.core.errors import InputError
from phenoloom.core.files import full_disk
from phenoloom.core.words import count
from phenoloom.slurm import client
from phenoloom.slurm import profile as profiles

#: Seconds for which Slurm must remember an ended job for Snakemake to see how it ended: it looks every 180 s at least.
REMEMBERED = 200
#: What the results folder must take before a run is worth starting.
PROBE_MB = 8
PLUGIN = "snakemake-executor-plugin-slurm"
STATUS, INITIAL = "slurm-status-command", "slurm-init-seconds-before-status-checks"
INITIAL_DEFAULT = 40
#: Keys of a partition beside its limits: the cluster that it belongs to, where there are several.
_CLUSTER_KEYS = ("slurm_cluster", "cluster", "clusters")
#: Stated limit, what the cluster has for it, and how a sentence says it.
_LIMITS = (
    ("max_mem_mb", "memory_mb", "{} MB of memory per node"),
    ("max_threads", "cpus", "{} CPUs per node"),
    ("max_cpus_per_task", "cpus", "{} CPUs per node"),
    ("max_gpu", "gpus", "{} GPUs per node"),
)


def say(sentence):
    """Print a notice: something that a user should know and that does not stop the run."""
    print(f"note: {sentence}", file=sys.stderr)


def check(profile_folder, results_folder, gpu_rules=(), arguments=(), say=say):
    """Check what a run with a workflow profile needs, and return arguments for Snakemake that this cluster asks for.

    arguments: those that Snakemake will get, which go before the profile's settings. gpu_rules: rules of this run
    that ask for a GPU unless the profile sets them to `gpu: 0`. A profile of another executor than `slurm` is checked
    for its keys only.
    Raises InputError with one sentence for everything that would let the run fail or wait for ever. Asks the cluster
    some questions of at most client.TIMEOUT seconds each, and ends at the first that it does not answer.
    """
    profile = profiles.read(profile_folder, arguments)
    if profile.setting("executor") != "slurm":
        _keys(profile, profiles.options())
        return []
    if missing := client.missing():
        raise InputError(client.without(*missing))
    real = client.partitions()
    options = profiles.options()
    if options.limits is None:
        raise InputError(
            f"{profile.path} asks for Slurm, and Snakemake's plugin for it ({PLUGIN}) is not in this environment: "
            "start the run with `make run PROFILE=...`, which installs it"
        )
    _keys(profile, options)
    _one_or_more(
        [
            *_partitions(profile, real, options.limits, gpu_rules, say),
            *_gpu_model(profile, real),
            *_account_and_quality(profile),
        ]
    )
    _surroundings(say)
    writable(results_folder)
    return _status(profile, say)


def writable(folder):
    """Raise InputError unless a file of some megabytes can be written in a folder, or where it is to be made."""
    there = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".probe-") as probe:
            probe.write(bytes(PROBE_MB * 1_000_000))
            probe.flush()
            os.fsync(probe.fileno())  # on a file server a quota shows only now
    except OSError as error:
        if full_disk(error):
            raise InputError(full_disk(OSError(error.errno, error.strerror, str(folder)))) from None
        raise InputError(
            f"nothing can be written in {folder} ({error.strerror}): make it writable, or run in a folder of yours"
        ) from None


def status_arguments(wanted, initial, age, accounting, sacct, say=say):
    """How Snakemake is to ask for the state of its jobs on this cluster, as arguments.

    wanted: the profile's command (`squeue`, `sacct` or None), initial: its seconds before the first look, age: seconds
    for which Slurm remembers ended jobs, accounting: whether it keeps accounts, sacct: whether that command is there.

    The plugin takes sacct by itself where `age` is less than three times `initial` and the command is there, even
    where it answers nothing, and then waits for ever. With sacct it does not see that a job was cancelled (whose
    state is `CANCELLED by ...`), so squeue is the better one where it can be relied on.
    """
    if accounting and (wanted == "sacct" or age < REMEMBERED):
        return [f"--{STATUS}", "sacct"]
    fitting = min(initial, age // 3) if sacct else initial
    if fitting < 1:
        raise InputError(
            f"this cluster keeps no accounts of ended jobs and its MinJobAge is {age} s, so that Snakemake could not "
            "see how jobs end; ask the administrators for accounting, or for MinJobAge=300 in slurm.conf"
        )
    if age < REMEMBERED:
        say(
            f"Slurm forgets jobs {age} s after their end and keeps no accounts here; should the end of a job be "
            "missed, that will be said, and the same command continues the run"
        )
    return [f"--{STATUS}", "squeue", *([f"--{INITIAL}", str(fitting)] if fitting != initial else [])]


def _status(profile, say):
    return status_arguments(
        profile.setting(STATUS),
        profile.number(INITIAL, INITIAL_DEFAULT),
        client.min_job_age(),
        client.accounting(),
        bool(shutil.which("sacct")),
        say,
    )


def _keys(profile, options):
    """Raise InputError for misspelt keys, and for an executor that is not there."""
    found = list(profiles.misspelt(profile, options))
    executor = profile.setting("executor")
    if executor and executor not in options.executors:
        near = difflib.get_close_matches(str(executor), [*options.executors, "slurm"], 1, 0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"install snakemake-executor-plugin-{executor}"
        found.append(f"{profile.path}: there is no executor `{executor}`; {hint}")
    _one_or_more(found)


def _one_or_more(sentences):
    if len(sentences) == 1:
        raise InputError(sentences[0])
    if sentences:
        raise InputError("\n  ".join([f"{count(len(sentences), 'thing')} must be mended:", *sentences]))


def _partitions(profile, real, known_limits, gpu_rules, say):
    """Sentences on the partitions that jobs would go to."""
    path = profile.path_setting("slurm-partition-config")
    if path is None and os.environ.get("SNAKEMAKE_SLURM_PARTITIONS"):
        path = Path(os.environ["SNAKEMAKE_SLURM_PARTITIONS"])
    stated = _read_partitions(path) if path else {}
    named = {name: (f"{path}", limits) for name, limits in stated.items()}
    if partition := profile.default_resource("slurm_partition"):
        named.setdefault(partition, (f"{profile.path}", {}))
    for rule, partition in profile.rule_resources("slurm_partition").items():
        named.setdefault(partition, (f"{profile.path}, set-resources of {rule}", {}))
    for name, (where, limits) in named.items():
        if name not in real:
            yield f"{where}: this cluster has no partition `{name}`; {_nearest(name, real)}"
        else:
            yield from _one_partition(where, name, limits, real[name], known_limits, say)
            yield from _closed(where, name, real[name]["accounts"], _accounts(profile))
    if not named and not any(partition["default"] for partition in real.values()):
        yield (
            f"{profile.path} names no partition and this cluster has no default one: name them in a file for "
            f"slurm-partition-config; {_nearest('', real)}"
        )
    asked = profile.rule_resources("gpu")
    wanting = [rule for rule in gpu_rules if asked.get(rule) != "0"]
    if wanting:
        yield from _no_gpu(profile, path, stated, named, real, wanting)


def _read_partitions(path):
    """The partitions in the file for slurm-partition-config that lie on this cluster: {name: limits}."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the file of partitions {path} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        raise InputError(f"the file of partitions {path} is not YAML: {' '.join(str(error).split())}") from None
    partitions = content.get("partitions") if isinstance(content, dict) else None
    if not isinstance(partitions, dict) or not all(isinstance(limits, dict) for limits in partitions.values()):
        raise InputError(f"{path} must hold `partitions:` and below it lines such as `cpu: {{max_runtime: 1440}}`")
    return {
        str(name): limits for name, limits in partitions.items() if not any(limits.get(key) for key in _CLUSTER_KEYS)
    }


def _one_partition(where, name, limits, real, known_limits, say):
    """Sentences on what is stated of a partition, against what the cluster says of it."""
    for key in limits:
        if key not in known_limits and key not in _CLUSTER_KEYS:
            near = difflib.get_close_matches(str(key), known_limits, 1, 0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known_limits)}"
            yield f"{where}: partition {name} has no limit `{key}`; {hint}"
    for key, has, words in _LIMITS:
        value = limits.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{where}: {key} of partition {name} must be a number, and is {value!r}"
        elif value > real[has]:
            yield f"{where}: partition {name} states {key}: {value}, but has {words.format(real[has])}"
    yield from _runtime(where, name, limits.get("max_runtime"), real["max_minutes"])
    models = set(map(str, limits.get("available_gpu_models") or []))
    if models and real["gpu_models"] and not models <= real["gpu_models"]:
        strange, has = ", ".join(sorted(models - real["gpu_models"])), ", ".join(sorted(real["gpu_models"]))
        yield f"{where}: partition {name} has no GPU model {strange}; it has {has}"
    if real["state"] in ("DRAIN", "INACTIVE"):
        yield f"{where}: partition {name} takes no jobs now (its state is {real['state']}); take it out, or wait"
    elif real["state"] == "DOWN" or not real["nodes"]:
        say(f"partition {name} starts no jobs now (it, or all of its nodes, are out of use): jobs there will wait")


def _closed(where, name, allowed, accounts):
    if allowed is not None and accounts and not {one.lower() for one in accounts} & {one.lower() for one in allowed}:
        yield f"{where}: partition {name} takes no jobs of the account {accounts[0]}; {_nearest(accounts[0], allowed)}"


def _runtime(where, name, stated, limit):
    if stated is None:
        return
    try:
        stated_minutes = stated_time(stated)
    except ValueError:
        yield f"{where}: max_runtime of partition {name} must be minutes or a time such as 2-00:00:00, not {stated!r}"
        return
    if limit is not None and stated_minutes > limit:
        yield f"{where}: partition {name} states max_runtime: {stated}, but stops jobs after {limit} minutes"


def stated_time(value):
    """Minutes of a time as the plugin reads it in a file of partitions: 90, `90`, `2-12:00`, `1:30:00`, `2d12h`.

    Two numbers are hours and minutes there. Raises ValueError for what is no time.
    """
    text = str(value).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if found := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text):
        days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
        return days * 1440 + hours * 60 + minutes + seconds / 60
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", text)
    if not parts:
        raise ValueError(f"{value} is no time")
    return sum(float(number) * {"d": 1440, "h": 60, "m": 1, "s": 1 / 60}[unit] for number, unit in parts)


def _no_gpu(profile, path, stated, named, real, rules):
    """A sentence when rules want a GPU and no partition that jobs may go to has one."""
    candidates = named or {name: () for name, partition in real.items() if partition["default"]}
    wanted = f"a GPU is wanted by {', '.join(rules)}"
    if stated and not any(limits.get("max_gpu") for limits in stated.values()):
        have = [name for name, partition in real.items() if partition["gpus"]]
        hint = (
            f"add one of {', '.join(have)} with its max_gpu"
            if have
            else f"this cluster has none at all; {_WITHOUT_GPU}"
        )
        yield f"{path}: {wanted} and no partition in the file has one; {hint}"
    elif not any(real[name]["gpus"] for name in candidates if name in real):
        yield f"{path or profile.path}: {wanted} and no partition of theirs has one; {_WITHOUT_GPU}"


_WITHOUT_GPU = "where a rule can do without, say so by `gpu: 0` under its name in `set-resources` of the profile"


def _gpu_model(profile, real):
    """Sentences on the model of GPU that jobs ask for."""
    models = set().union(*(partition["gpu_models"] for partition in real.values()))
    asked = dict(profile.rule_resources("gpu_model"))
    if model := profile.default_resource("gpu_model"):
        yield (
            f"{profile.path}: gpu_model under default-resources makes every job ask for a GPU; "
            f"give it in `set-resources` to the rules that use one, as in `RULE: {{gpu_model: {model}}}`"
        )
    for rule, model in asked.items():
        if models and model not in models:
            yield (
                f"{profile.path}: rule {rule} asks for the GPU model {model}, and this cluster has "
                f"{', '.join(sorted(models))}"
            )


def _accounts(profile):
    """The accounts that jobs are charged to, as the profile names them."""
    return [name for name in re.split(r"[,\s]+", profile.default_resource("slurm_account") or "") if name]


def _account_and_quality(profile):
    """Sentences on the account that is charged and the quality of service, as far as the cluster tells."""
    accounts = _accounts(profile)
    quality = profile.setting("slurm-qos") or profile.default_resource("qos")
    if not accounts and not quality:
        return
    allowed = client.associations()
    if allowed is None:
        return
    mine = {account.lower() for account, _ in allowed}
    for account in accounts:
        if account.lower() not in mine:
            yield (
                f"{profile.path}: {getpass.getuser()} cannot charge the account `{account}`; "
                f"{_nearest(account, sorted(mine))}"
            )
    qualities = set().union(*(names for _, names in allowed))
    if quality and qualities and quality not in qualities:
        yield f"{profile.path}: {getpass.getuser()} may not ask for the QOS `{quality}`; {_nearest(quality, qualities)}"


def _nearest(name, names):
    names = sorted(names)
    near = difflib.get_close_matches(str(name), names, 1, 0.6)
    return f"did you mean `{near[0]}`?" if near else f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}"


def _surroundings(say):
    """Notices on the environment that the run is started from."""
    configuration = os.environ.get("SLURM_CONF")
    if configuration and Path(configuration).parent != Path("/etc/slurm"):
        say(
            f"SLURM_CONF={configuration} does not reach the jobs, whose Slurm commands take the configuration of "
            "their node; where that is another cluster's, the jobs fail"
        )
    if number := os.environ.get("SLURM_JOB_ID"):
        left = ""
        with contextlib.suppress(InputError):
            left = client.details(number).get("EndTime", "")
        until = f" at {left.replace('T', ' ')}" if re.match(r"\d{4}-", left) else ""
        say(
            f"this run's head is itself in job {number}: it stops when that job ends{until}, and the same command "
            "continues it"
        )
