"""Stand-ins for Slurm's commands, first and alone on the PATH: they print what real versions of Slurm printed."""

from pathlib import Path

DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"

#: `scontrol -a show partition -o` of Slurm 20.11, 22.05 and 24.05 on clusters of different kinds.
PARTITION = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts={accounts} AllowQos=ALL AllocNodes=ALL Default={default} "
    "QoS=N/A DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED "
    "MaxTime={time} MinNodes=0 LLN=NO MaxCPUsPerNode={cpus} {more}Nodes=cn[1-2] "
    "PriorityJobFactor=1 PriorityTier=1 RootOnly=NO "
    "ReqResv=NO OverSubscribe=NO OverTimeLimit=NONE PreemptMode=OFF State={state} TotalCPUs=8 TotalNodes=2 "
    "SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED MaxMemPerNode={memory} "
    "TRES=cpu=8,mem=8000M,node=2,billing=8"
)
DEFAULTS = {"default": "NO", "time": "1-00:00:00", "cpus": "UNLIMITED", "state": "UP", "memory": "UNLIMITED"}

#: `scontrol show job -o` of Slurm 22.05, shortened.
JOB = (
    "JobId=61 JobName=9c62d3c8 UserId=anna(1000) GroupId=anna(1000) MCS_label=N/A Priority=4294901699 Nice=0 "
    "Account=(null) QOS=(null) JobState=FAILED Reason=NonZeroExitCode Dependency=(null) Requeue=1 Restarts=0 "
    "ExitCode=1:0 TimeLimit=01:00:00 SubmitTime=2026-11-21T02:57:08 NodeList=gn1 BatchHost=gn1 NumNodes=1 "
    "ReqB:S:C:T=0:0:*:* TRES=cpu=1,mem=400M,node=1,billing=1 Command=(null) WorkDir=/data/my study "
    "Comment=rule_embed a=b StdErr=/dev/null Power= TresPerNode=gres:gpu:1"
)

#: `scontrol show config`, shortened.
CONFIG = "AccountingStorageType   = {accounting}\nClusterName             = lab\nMinJobAge               = {age} sec\n"


class FakeSlurm:
    """A folder of commands. Each prints what `answers` gave it for arguments that a shell pattern matches."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.cases = {}
        self.folder.mkdir(exist_ok=True)
        for command in ("sbatch", "squeue", "scancel", "scontrol", "sinfo"):
            self.answers(command, "")

    def answers(self, command, out, errors="", status=0, when="*", seconds=0):
        """From now on `command` prints this, after so many seconds. Later answers go before earlier ones."""
        cases = self.cases.setdefault(command, [])
        for kind, text in (("out", out), ("err", errors)):
            (self.folder / f".{command}.{len(cases)}.{kind}").write_text(text and text.rstrip("\n") + "\n")
        cases.append((when, seconds, status))
        lines = ["#!/bin/sh", f"echo \"$*\" >> '{self.folder}/.{command}.calls'", 'case "$*" in']
        for number, (pattern, wait, code) in reversed(list(enumerate(cases))):
            place = f"'{self.folder}/.{command}.{number}"
            waiting = f"/bin/sleep {wait}; " if wait else ""
            lines.append(f"{pattern}) {waiting}/bin/cat {place}.err' >&2; /bin/cat {place}.out'; exit {code};;")
        path = self.folder / command
        path.write_text("\n".join([*lines, "esac"]) + "\n")
        path.chmod(0o755)

    def calls(self, command):
        """Arguments of the calls of a command, one line each."""
        path = self.folder / f".{command}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def remove(self, command):
        (self.folder / command).unlink(missing_ok=True)

    def is_down(self):
        """As when the controller does not run."""
        for command in tuple(self.cases):
            self.answers(command, "", errors=DOWN, status=1)

    def config(self, accounting="accounting_storage/none", age=300):
        self.answers("scontrol", CONFIG.format(accounting=accounting, age=age), when="'show config'")

    def partitions(self, nodes, **more):
        """nodes: {partition: [row of sinfo after the partition's name, ...]}; more: {partition: fields}."""
        lines, rows = [], []
        for name, alike in nodes.items():
            fields = {"name": name, "more": "", "accounts": "ALL", **DEFAULTS, **more.get(name, {})}
            lines.append(PARTITION.format(**fields))
            rows += [f"{name}|{row}" for row in alike]
        self.answers("scontrol", "\n".join(lines), when="*'show partition'*")
        self.answers("sinfo", "\n".join(rows))
