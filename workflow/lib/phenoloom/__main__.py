"""The command line: `python -m phenoloom COMMAND`; each command is a module of `phenoloom.commands`."""

import argparse
import logging
import sys

from phenoloom.commands import failures, fcs, freeze, plan, prepare, rate, reference, retry, run
from phenoloom.core.errors import InputError
from phenoloom.core.files import full_disk

COMMANDS = {
    "run": run,
    "retry": retry,
    "failures": failures,
    "prepare": prepare,
    "freeze": freeze,
    "rate": rate,
    "plan": plan,
    "fcs": fcs,
    "reference": reference,
}


def main(arguments=None):
    """Run a command; return its exit status. An InputError is printed as its one sentence."""
    parser = argparse.ArgumentParser(prog="phenoloom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        module.add(commands.add_parser(name, help=module.__doc__.split(": ", 1)[1]))
    given = parser.parse_args(arguments)
    # What is lost stands in ledgers, and commands say what of it matters: without a handler each row would be printed.
    logging.getLogger("phenoloom").addHandler(logging.NullHandler())
    try:
        return COMMANDS[given.command].call(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if sentence := full_disk(error):
            print(f"error: {sentence}", file=sys.stderr)
            return 1
        raise


if __name__ == "__main__":
    sys.exit(main())
