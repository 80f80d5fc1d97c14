"""Inputs and params of the rules in features.smk."""

import functools
import glob
import json
import shlex

from phenoloom.cellprofiler import pipeline as pipelines
from phenoloom.ingest.preflight import pipeline_findings


def pipeline_of(wildcards):
    """The .cppipe of a dataset. Stops the workflow before any job when it asks for what the study lacks."""
    wrong = _lacking(wildcards.dataset)
    if wrong:
        raise WorkflowError("\n".join(wrong))
    return study.pipeline(wildcards.dataset)["pipeline"]


@functools.cache
def _lacking(dataset):
    return [finding.text for finding in pipeline_findings(dataset, study.dataset(dataset))]


def illuminated(wildcards):
    """Channels whose illumination function the pipeline asks for."""
    return _illuminated(wildcards.dataset)


@functools.cache
def _illuminated(dataset):
    block = study.pipeline(dataset)
    try:
        return pipelines.illuminated_channels(block["pipeline"], study.channels(dataset), block["images"])
    except ValueError as error:
        raise WorkflowError(str(error))


def illumination_functions(wildcards):
    """Paths of the illumination functions that the pipeline asks for."""
    return [
        f"<results>/{wildcards.dataset}/illumination/{wildcards.plate}/{channel}.npy"
        for channel in illuminated(wildcards)
    ]


def extra_files(wildcards):
    """Files that the pipeline gets besides the images of the sites; patterns are resolved."""
    return _extra_files(wildcards.dataset)


@functools.cache
def _extra_files(dataset):
    block = study.pipeline(dataset)
    fixed = [entry["file"] for entry in block["images"].values() if isinstance(entry, dict) and "file" in entry]
    patterns = [*block["files"], *block["metadata_files"]]
    return fixed + [path for pattern in patterns for path in sorted(glob.glob(pattern)) or [pattern]]


def runner_options(wildcards):
    """The options that change what the runner computes, as JSON."""
    return _runner_options(wildcards.dataset)


@functools.cache
def _runner_options(dataset):
    block = study.pipeline(dataset)
    names = ("images", "metadata", "files", "metadata_files", "masks", "seconds_limit")
    return json.dumps({name: block[name] for name in names}, sort_keys=True)


#: What the pipelines write themselves (images, tables) is kept only where a study asks for it.
_files = (
    {"files": "<results>/{dataset}/cellprofiler/{plate}/{batch}.output.zip"}
    if any((study.pipeline(dataset) or {}).get("keep_output") for dataset in study.datasets())
    else {}
)
