"""Rule cellprofiler: manifest of one batch -> measurements of its sites. A plain command line, Python 3.9 or later.

Runs in the CellProfiler environment. Where this Python has no CellProfiler, the launcher phenoloom-cellprofiler
(which `make env` puts beside the main Python) takes over.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

LAUNCHER = "phenoloom-cellprofiler"


def main(arguments=None):
    """Run a batch; exit status 1 and one sentence when the batch as a whole cannot run."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    from phenoloom.cellprofiler.plan import make_plan
    from phenoloom.cellprofiler.runner import BatchError, run_batch

    settings = json.loads(options.options)
    illumination = dict(zip(options.illuminated, options.illumination))  # noqa: B905 (Python 3.9)
    try:
        plan = make_plan(options.index, options.pipeline, options.channels, settings, illumination)
        limit = settings.get("seconds_limit", 1800)
        count = run_batch(
            plan, options.output, options.ledger, site_limit=limit, files=options.files, costs=options.costs
        )
    except (BatchError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    print(f"{count} of {len(plan['sites'])} sites measured")


def parse(arguments):
    """Command line of the runner."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--index", required=True, help="manifest of the batch (Parquet)")
    parser.add_argument("--pipeline", required=True, help="the .cppipe")
    parser.add_argument("--channels", nargs="*", default=[], help="the study's channels")
    parser.add_argument("--illuminated", nargs="*", default=[], help="channels with an illumination function")
    parser.add_argument("--illumination", nargs="*", default=[], help="their functions (.npy), in the same order")
    parser.add_argument("--options", default="{}", help="JSON: images, metadata, files, metadata_files, masks")
    parser.add_argument("--output", required=True, help="measurements to write (.h5)")
    parser.add_argument("--ledger", required=True, help="failures to write (JSON lines)")
    parser.add_argument("--files", help="archive (.zip) for the files that the pipeline itself writes")
    parser.add_argument("--costs", help="what each site took, to write (JSON)")
    return parser.parse_args(arguments)


def hand_over():
    """Continue in the CellProfiler environment if this is another; fail with one sentence if there is none."""
    if importlib.util.find_spec("cellprofiler_core"):
        return
    launcher = shutil.which(LAUNCHER)
    if launcher is None:
        raise SystemExit(f"error: neither this Python has CellProfiler nor is {LAUNCHER} on the PATH; run `make env`")
    os.execv(launcher, [launcher, os.path.abspath(__file__), *sys.argv[1:]])


if __name__ == "__main__":
    hand_over()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
    main()
