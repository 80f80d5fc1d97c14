"""`retry`: run again what the ledger lists as lost and may succeed now, and what follows from it."""

import argparse

from phenoloom.commands import prepare, run
from phenoloom.core.words import count

#: Bytes of arguments for one command; the system's limit, two million on Linux, is that of the environment too.
LIMIT = 1_500_000


def add(parser):
    parser.add_argument("config")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="targets and options of Snakemake")


def call(given):
    """Say what is retried, look anew at the images that were lost, and run with the jobs forced that lost sites."""
    from phenoloom.config.loading import read_config
    from phenoloom.config.study import Study
    from phenoloom.running import retry

    config = read_config(given.config)
    results = f"results/{config['study']}"
    study = Study(config, results)
    found = retry.plan(study)
    lines = retry.words(found) or [f"The ledger of {config['study']} names nothing to retry: this is an ordinary run."]
    print("\n".join(lines), flush=True)
    if run.LOOKS & set(given.rest):
        given.rest = [*given.rest, *_forced(found.outputs(study))]
        return run.call(given)

    def begin(config):
        """Index with the lost images read anew; return the arguments that force the jobs."""
        prepare.everything(config, again=found.places)
        indexed = Study(config, results)
        still = retry.unindexed(indexed)
        for dataset, number in found.unindexed.items():
            print(f"{dataset}: {still[dataset]} of {number} are still lost", flush=True)
        return _forced(found.outputs(indexed))

    return run.call(given, begin)


def _forced(outputs):
    """Arguments that make Snakemake run jobs again, as many as fit into one command."""
    fitting, room = [], LIMIT
    for path in outputs:
        room -= len(path.encode()) + 9  # its end and its pointer
        if room > 0:
            fitting.append(path)
    if len(fitting) < len(outputs):
        print(f"{count(len(outputs) - len(fitting), 'job')} do not fit into one command: give it again for them.")
    return ["--forcerun", *fitting] if fitting else []
