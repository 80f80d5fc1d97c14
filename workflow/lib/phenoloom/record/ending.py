"""What happens when a run ends, well or not: its failures are listed and its provenance is written."""

import contextlib
import sys
from pathlib import Path

from phenoloom.core.files import full_disk
from phenoloom.record.events import command, read_run, read_runs
from phenoloom.record.failures import failures, message, write_failures


def finish(results, events, config, codes):
    """Say what failed and how to go on, and write `provenance/` and the RO-Crate of a study.

    events: the event file of the run that ends. config: the study's config as resolved. codes: fingerprint of each
    rule, {rule: digest}. What cannot be written is a warning: the results are there all the same.
    """
    if events is None:  # it ended before it started
        return
    list_failures(results, read_run(events), command())
    with _only_a_warning("the study's provenance"):
        write_record(results, config, codes, read_runs(results) or [read_run(events)])


def list_failures(results, run, again):
    """Print what failed and write `provenance/failures.tsv`; return the Failures. again: the command that continues."""
    found, table = failures(run), Path(results) / "provenance" / "failures.tsv"
    if found:
        print(f"\n{message(run, found, table, again)}", file=sys.stderr)
    with _only_a_warning("the list of what failed"):  # a full disk may be what failed
        write_failures(table, found)
    return found


def write_record(results, config, codes, runs):
    """Write the files of `provenance/` and the RO-Crate of a study (see bundle.write and crate.write)."""
    from phenoloom.record import bundle, crate  # each job imports this module, and only the head needs these

    crate.write(results, config, runs, *bundle.write(results, config, codes, runs))


@contextlib.contextmanager
def _only_a_warning(what):
    try:
        yield
    except Exception as error:  # whatever it is, the run is no worse for it
        reason = full_disk(error) or (f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}")
        print(
            f"warning: {what} could not be written ({reason}); the results are as they are without it", file=sys.stderr
        )
