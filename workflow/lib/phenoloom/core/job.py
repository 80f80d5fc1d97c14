"""Context of one job: log file, thread budget, seed, ledger, origin of its outputs, and errors in the log."""

import contextlib
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

log = logging.getLogger("phenoloom")


@contextlib.contextmanager
def job(snakemake):
    """Run a rule's script: everything printed or logged goes to the rule's log, an error ends there in full.

    Yields a Run. An InputError or a full disk is logged as one sentence; any other error with its traceback. Both end
    the job with exit status 1, and Snakemake shows the log's end.
    """
    path = Path(snakemake.log[0]) if snakemake.log else None
    with _output_to(path):
        _limit_threads(snakemake.threads)
        _redirect_caches()
        started = time.perf_counter()
        try:
            yield Run(snakemake)
        except Exception as error:
            from phenoloom.core.errors import InputError
            from phenoloom.core.files import full_disk

            sentence = str(error) if isinstance(error, InputError) else full_disk(error)
            if sentence:
                print(f"error: {sentence}", file=sys.stderr)
            else:
                traceback.print_exc()
            sys.stderr.flush()
            raise SystemExit(1) from error
        log.info("done in %.1f s", time.perf_counter() - started)


class Run:
    """What a script needs of its job: `ledger`, `seed`, `threads`, `origin()` and savers that carry the origin."""

    def __init__(self, snakemake):
        from phenoloom.core.ledger import Ledger
        from phenoloom.core.names import decode

        self.rule = snakemake.rule
        self.threads = snakemake.threads
        self.params = {key: value for key, value in snakemake.params.items()}
        self.seed = int(self.params.get("seed", 0))
        self.inputs = [str(path) for path in snakemake.input]
        self.wildcards = {key: decode(value) for key, value in snakemake.wildcards.items()}
        where = {key: self.wildcards[key] for key in ("dataset", "plate", "channel") if key in self.wildcards}
        self.ledger = Ledger(self.rule, **where)
        self.packages = (
            "numpy",
            "pandas",
            "pyarrow",
            "scipy",
            "scikit-image",
            "scikit-learn",
            "pycytominer",
            "copairs",
            "scanpy",
            "igraph",
            "torch",
            "FlowIO",
            "pytorch-lightning",
            "transformers",
            "harmonypy",
        )

    def origin(self, **more):
        """Origin of an output: rule, wildcards, parameters, code fingerprint, versions, digests of small inputs."""
        from phenoloom.core.provenance import versions

        params = {key: value for key, value in self.params.items() if key != "code"}
        return {
            "rule": self.rule,
            "wildcards": self.wildcards,
            "params": json.loads(json.dumps(params, default=str)),
            "code": self.params.get("code"),
            "versions": versions(self.packages),
            "inputs": {_short(path): _digest(path) for path in self.inputs},
            **more,
        }

    def save_table(self, path, table, **more):
        """Write a representation with its origin (see tables.write_table)."""
        from phenoloom.core.tables import write_table

        write_table(path, table, self.origin(**more))

    def save_array(self, path, array):
        """Write an array atomically as .npy without pickling."""
        import numpy as np

        from phenoloom.core.files import atomic

        with atomic(path) as partial, open(partial, "wb") as file:
            np.save(file, array, allow_pickle=False)


def _short(path):
    """Last three parts of a path: names the input without telling where this machine keeps it."""
    return "/".join(Path(path).parts[-3:])


def _digest(path):
    from phenoloom.core.files import digest_file

    file = Path(path)
    return digest_file(file) if file.is_file() and file.stat().st_size < 2**26 else None


def _limit_threads(threads):
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.set_cpu_count(threads)
    with contextlib.suppress(ImportError):
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)


def _redirect_caches():
    """Libraries that cache in the home folder write to a scratch folder instead."""
    scratch = Path(os.environ.get("PHENOLOOM_CACHE", Path(tempfile.gettempdir()) / f"phenoloom-{os.getuid()}"))
    places = {
        "MPLCONFIGDIR": "matplotlib",
        "NUMBA_CACHE_DIR": "numba",
        "HF_HOME": "huggingface",
        "COPAIRS_CACHE": "copairs",
    }
    for variable, name in places.items():
        folder = scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(variable, str(folder))


@contextlib.contextmanager
def _output_to(path):
    """Send stdout and stderr, also those of child processes, and logging to `path`."""
    if path is None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", force=True)
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # One open file for Python's streams and for the descriptors that child processes and C libraries write to.
    with open(path, "w", buffering=1, encoding="utf-8", errors="replace") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                logging.basicConfig(
                    level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=file, force=True
                )
                yield
        finally:
            for handler in [one for one in logging.root.handlers if getattr(one, "stream", None) is file]:
                logging.root.removeHandler(handler)
            for descriptor, original in enumerate(saved, start=1):
                os.dup2(original, descriptor)
                os.close(original)
