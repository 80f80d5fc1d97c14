"""`ro-crate-metadata.json`: the study as a Workflow Run RO-Crate, which other tools read and validate.

Profiles: RO-Crate 1.1, Workflow RO-Crate 1.0, Process Run Crate 0.5 and Workflow Run Crate 0.5. Its paths are those
within the results; it names no person, host or folder of the machine.
"""

import datetime
import json
from pathlib import Path

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from phenoloom.core.files import write_if_changed
from phenoloom.core.words import count
from phenoloom.record.bundle import digest
from phenoloom.record.contents import parts

NAME = "ro-crate-metadata.json"
WORKFLOW = "provenance/code/Snakefile"
CONFIG = "provenance/config.yaml"
LICENCE = "provenance/code/LICENSE"
BSD = "https://spdx.org/licenses/BSD-3-Clause"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
#: The one term that RO-Crate 1.1 does not define, as Workflow Run Crate does.
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
FORMATS = {
    "": "text/plain",
    ".csv": "text/csv",
    ".h5ad": "application/x-hdf5",
    ".html": "text/html",
    ".json": "application/json",
    ".npz": "application/zip",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}


def write(results, config, runs, versions, git):
    """Write the crate of a study, after the files of `provenance/`.

    config: the study's config as resolved. runs: all Runs of the study, the last one being that which ends. versions,
    git: as bundle.write returns them.
    """
    path = Path(results) / NAME
    write_if_changed(path, build(results, config, runs, versions, git or {}, known_digests(path)))


def known_digests(path):
    """{path: (size, time, digest)} of an earlier crate, so that large files that are the same are not read again."""
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))["@graph"]
        return {
            one["@id"]: (one["contentSize"], one["dateModified"], one["sha256"]) for one in graph if "sha256" in one
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def build(results, config, runs, versions, git, digests):
    """The crate's metadata as bytes; digests as known_digests returns them."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(TERMS)
    _describe(crate, config, runs[-1])
    workflow = _workflow(crate, versions, git)
    entities = {part.path: _part(crate, Path(results), part, digests) for part in parts(results, config["datasets"])}
    actions = []
    for run, made in zip(runs, _made_by(results, runs, entities), strict=True):
        if made or run is runs[-1]:
            actions.append(crate.add_action(workflow, f"#{run.path.stem}", result=_one(made), properties=_said_of(run)))
    crate.root_dataset["mentions"] = _one(actions)
    # Which config an earlier run was given is not on record.
    actions[-1]["object"] = _one([entities[path] for path in (CONFIG, *_indexes(config)) if path in entities])
    return (json.dumps(crate.metadata.generate(), indent=1, ensure_ascii=False) + "\n").encode()


def _describe(crate, config, last):
    study = config["study"]
    crate.name = config["report"]["title"] or f"Study {study}"
    crate.description = (
        f"Results of the study {study}, made by phenoloom: image-based profiles, their evaluation, every figure, and "
        f"the record of how they were made. Datasets: {', '.join(config['datasets'])}."
    )
    crate.root_dataset["datePublished"] = _time(last.ended)
    crate.root_dataset["license"] = _add(
        crate,
        "#licence",
        "CreativeWork",
        name="Not stated",
        description=f"No licence is stated for these results. That of the workflow is in {LICENCE}.",
    )
    crate.root_dataset["conformsTo"] = [
        _add(crate, profile, "CreativeWork", name=name, version=version)
        for profile, (name, version) in PROFILES.items()
    ]


def _workflow(crate, versions, git):
    """The workflow and what it stands on."""
    workflow = crate.add_workflow(dest_path=WORKFLOW, main=True, lang="snakemake", lang_version=versions["snakemake"])
    workflow["name"] = "phenoloom"
    workflow["description"] = "Image-based profiling: from raw images to profiles, evaluation and one report"
    workflow["version"] = " ".join(filter(None, [versions["phenoloom"], git.get("describe")]))
    workflow["encodingFormat"] = "text/plain"
    workflow["license"] = _add(crate, BSD, "CreativeWork", name="BSD 3-Clause License")
    workflow["softwareRequirements"] = [
        _add(crate, url, "SoftwareApplication", name=name, url=url, softwareVersion=version)
        for name, version, url in _software(versions)
    ]
    if str(git.get("remote")).startswith("http"):
        workflow["url"] = workflow["codeRepository"] = git["remote"]
    return workflow


def _software(versions):
    """Name, version and address of what runs the jobs."""
    python, snakemake, cellprofiler = (versions[name] for name in ("python", "snakemake", "cellprofiler"))
    yield "Python", python, f"https://docs.python.org/release/{python}/"
    yield "Snakemake", snakemake, f"https://pypi.org/project/snakemake/{snakemake}/"
    yield "CellProfiler", cellprofiler, f"https://pypi.org/project/CellProfiler/{cellprofiler}/"


def _part(crate, results, part, digests):
    """A file with its size and digest, or a folder."""
    properties = {"name": part.name, "description": part.description}
    if part.folder:
        return crate.add_dataset(dest_path=f"{part.path}/", properties=properties)
    stat = (results / part.path).stat()
    size, modified = str(stat.st_size), _time(stat.st_mtime_ns / 1e9, "microseconds")
    entity = crate.add_file(
        dest_path=part.path, properties={**properties, "contentSize": size, "dateModified": modified}
    )
    known = digests.get(entity.id)
    same = known and known[:2] == (size, modified)
    entity["sha256"] = known[2] if same else digest(results / part.path)
    if Path(part.path).suffix in FORMATS:
        entity["encodingFormat"] = FORMATS[Path(part.path).suffix]
    return entity


def _made_by(results, runs, entities):
    """For each run the entities that it was the last to write, folders where it did so for something in them."""
    wrote, wrote_below = {}, {}
    for turn, run in enumerate(runs):
        for number in run.finished:
            for output in run.jobs.get(number, {}).get("output", []):
                wrote[output] = turn
    for output, turn in wrote.items():
        for folder in Path(output).parents:
            wrote_below.setdefault(str(folder), set()).add(turn)
    found = [[] for _ in runs]
    for path, entity in entities.items():
        whole = Path(results) / path
        # A rule declares the file itself or a folder above it; of a folder of outputs, all who wrote one of them.
        above = [wrote[str(one)] for one in (whole, *whole.parents) if str(one) in wrote]
        for turn in above[:1] or sorted(wrote_below.get(str(whole), set())):
            found[turn].append(entity)
    return found


def _said_of(run):
    """Properties of the action that stands for a run."""
    said = f"{count(len(run.finished), 'job')} finished, {count(len(run.failed()), 'job')} failed"
    properties = {"@type": "CreateAction", "name": f"Run {run.path.stem}", "description": said}
    properties |= {"startTime": _time(run.start.get("time")), "endTime": _time(run.ended)}
    if run.status == "finished":
        properties["actionStatus"] = "http://schema.org/CompletedActionStatus"
    elif run.status:
        properties["actionStatus"] = "http://schema.org/FailedActionStatus"
        properties["error"] = f"The run {'' if run.status == 'failed' else 'was '}{run.status}: {said}"
    return {name: value for name, value in properties.items() if value}


def _indexes(config):
    """Folders of what was listed of images and events that a run takes in; that of simulated ones it makes itself."""
    taken = [name for name, dataset in config["datasets"].items() if not dataset.get("simulate")]
    return [f"{name}/{folder}" for name in taken for folder in ("index", "manifests")]


def _one(values):
    """One value by itself, several as a list, as RO-Crate wants it."""
    return values[0] if len(values) == 1 else values


def _add(crate, identifier, kind, **properties):
    return crate.add(ContextEntity(crate, identifier, {"@type": kind, **properties}))


def _time(seconds, precision="seconds"):
    """A time in seconds since 1970 as ISO 8601 in UTC; None for None."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec=precision)
