"""Runs a pipeline over sites with CellProfiler's own library; one process, started and watched by the runner.

Works on Python 3.9 in the CellProfiler environment. Says what it does as JSON lines in an event file, so that the
runner knows the site and module in progress when this process dies.
"""

import json
import logging
import os
import resource
import sys
import threading
import time

import numpy as np

from phenoloom.cellprofiler.load_data import SITE_COLUMN, load_data_rows, write_load_data
from phenoloom.cellprofiler.storage import write_site

#: Exit status that says: no site can ever work, the event file says why.
HOPELESS = 3

#: Image measurements that differ between runs or machines and say nothing about the cells.
VOLATILE = ("ExecutionTime_", "ModuleError_", "PathName_", "URL_", "ProcessingStatus", SITE_COLUMN)


class Events:
    """Writes events as JSON lines, each at once."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open as long as the process lives)

    def __call__(self, **event):
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()


def run(plan, numbers, folder, event_path, results):
    """Run the sites with these `numbers`, one .npz each in `results`; all else that is written goes to `folder`.

    Ends the process, for the JVM's threads would keep it alive.
    """
    events = Events(event_path)
    _die_with_parent()
    status = 0
    try:
        _run(plan, [site for site in plan["sites"] if site["number"] in set(numbers)], folder, results, events)
    except _Hopeless as error:
        events(hopeless=str(error))
        status = HOPELESS
    except BaseException as error:  # whatever it is, the runner must hear of it
        logging.exception("the worker failed")
        events(broken=_words(error))
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Hopeless(Exception):
    pass


def _run(plan, sites, folder, results, events):
    pipeline = _load_pipeline(plan, folder)
    if plan["kind"] == "load_data":
        from cellprofiler_core.preferences import set_data_file

        table = os.path.join(folder, "load_data.csv")
        write_load_data(table, *load_data_rows(sites, plan["images"], plan["metadata"], plan["illumination"]))
        set_data_file(table)
    else:
        paths = sorted({os.path.abspath(path) for site in sites for path, _ in site["planes"].values()})
        pipeline.add_pathnames_to_file_list(paths + [os.path.abspath(path) for path in plan["files"]])

    from cellprofiler_core.image import ImageSetList
    from cellprofiler_core.measurement import Measurements
    from cellprofiler_core.workspace import Workspace

    problems = _listen(pipeline)
    measurements = Measurements()  # in a file of the scratch folder: a long batch needs no more memory
    workspace = Workspace(pipeline, None, None, None, measurements, ImageSetList())
    if not pipeline.prepare_run(workspace):
        raise RuntimeError("; ".join(problems) or "the pipeline found no image sets")
    known = _sites_of_image_sets(measurements, sites, plan["kind"])
    lost = {site["number"] for site in sites} - set(known.values())
    for number in sorted(lost):
        events(site=number, failed="the pipeline made no image set of the site's files")
    events(ready=True)
    _, groups = pipeline.get_groupings(workspace)
    for keys, image_numbers in groups:
        image_numbers = [int(number) for number in image_numbers]
        if not any(number in known for number in image_numbers):
            continue
        problems.clear()
        if not pipeline.prepare_group(workspace, keys, image_numbers):
            for image_number in image_numbers:
                if image_number in known:
                    events(site=known[image_number], failed="; ".join(problems) or "its group cannot be prepared")
            continue
        last = workspace
        for image_number in image_numbers:
            if image_number in known:
                last = _run_site(
                    pipeline, measurements, image_number, known[image_number], plan["masks"], results, events
                )
        if last is not None:
            pipeline.post_group(last, keys)
    events(ending=True)
    problems.clear()
    if pipeline.post_run(workspace) != "Complete":
        events(warning="; ".join(problems) or "a module failed after the last site")
    pipeline.end_run()


def _run_site(pipeline, measurements, image_number, number, masks, results, events):
    """Run one image set; write its measurements when every module ran. Returns the workspace, None on failure."""
    from cellprofiler_core.constants.workspace import DISPOSITION_SKIP

    started, cpu_started = time.time(), time.process_time()
    events(site=number, started=started)
    state = {}

    def run_module(module, workspace):
        state.update(module=f"{module.module_name} (module {module.module_num})", error=None)
        events(site=number, module=state["module"])
        try:
            type(pipeline).run_module(module, workspace)
        except Exception as error:
            state["error"] = error
            raise
        state["skip"] = workspace.disposition == DISPOSITION_SKIP

    pipeline.run_module = run_module
    workspace = pipeline.run_image_set(measurements, image_number, None, lambda *arguments: None, None)
    if state.get("error") is not None:
        events(site=number, failed=f"{state['module']}: {_words(state['error'])}")
        return None
    if state.get("skip"):
        events(site=number, failed=f"skipped by the pipeline's {state['module']}")
        return workspace
    try:
        images, objects = _collect(measurements, image_number)
        write_site(results, number, images, objects, _masks(workspace.object_set, masks))
    except Exception as error:
        logging.exception("the measurements cannot be stored")
        events(site=number, failed=f"its measurements cannot be stored: {_words(error)}")
        return workspace
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time() - cpu_started
    events(site=number, done=True, seconds=time.time() - started, cpu_seconds=cpu, peak_mb=peak_mb)
    return workspace


def _load_pipeline(plan, folder):
    """CellProfiler, headless and with every folder in `folder`, and the pipeline, unmodified."""
    from cellprofiler_core import preferences

    preferences.set_headless()
    preferences.set_awt_headless(True)
    inputs, outputs, temporary = (os.path.join(folder, name) for name in ("input", "output", "temporary"))
    for path in (inputs, outputs, temporary):
        os.makedirs(path, exist_ok=True)
    for path in plan["metadata_files"]:
        link = os.path.join(inputs, os.path.basename(path))
        if not os.path.lexists(link):
            os.symlink(os.path.abspath(path), link)
    preferences.set_temporary_directory(temporary, globally=False)
    preferences.set_default_output_directory(outputs)
    preferences.set_default_image_directory(inputs)
    logging.getLogger().setLevel(logging.WARNING)
    np.seterr(all="ignore")

    from cellprofiler_core.pipeline import Pipeline

    from phenoloom.cellprofiler.readers import install, start_java

    if plan["kind"] != "load_data":
        start_java()
    install()
    _give_sqlite()
    pipeline = Pipeline()
    problems = _listen(pipeline)
    try:
        pipeline.load(plan["pipeline"])
    except Exception as error:
        raise _Hopeless(f"{plan['pipeline']} cannot be loaded by CellProfiler: {_words(error)}") from error
    if problems:
        raise _Hopeless(f"{plan['pipeline']} cannot be loaded by CellProfiler: {problems[0]}")
    return pipeline


def _give_sqlite():
    """Let ExportToDatabase write SQLite without MySQLdb, whose absence costs it sqlite3 and two names that it uses."""
    import sqlite3

    from cellprofiler.modules import exporttodatabase

    class MySQLdb:
        Error = sqlite3.Error

        @staticmethod
        def escape_string(text):
            return text.replace("'", "''").encode("utf-8")

    for name, value in {"sqlite3": sqlite3, "MySQLdb": MySQLdb}.items():
        if not hasattr(exporttodatabase, name):
            setattr(exporttodatabase, name, value)


def _listen(pipeline):
    """A list that fills with one sentence per problem that CellProfiler reports as an event."""
    problems = []

    def listener(_, event):
        error = getattr(event, "error", None)
        message = getattr(event, "message", None)
        if error is None and message is None:
            return
        module = getattr(event, "module", None)
        name = getattr(module, "module_name", None) or (module if isinstance(module, str) else "")
        problems.append(f"{name}: {_words(error) if error is not None else message}".lstrip(": "))

    pipeline.add_listener(listener)
    return problems


def _sites_of_image_sets(measurements, sites, kind):
    """{image number: site number}; image sets that mix sites or hold none are left out."""
    numbers = [int(number) for number in measurements.get_image_numbers()]
    if kind == "load_data":
        return {number: int(measurements["Image", SITE_COLUMN, number]) for number in numbers}
    from cellprofiler_core.utilities.pathname import url2pathname

    owners = {}
    for site in sites:
        for path, page in site["planes"].values():
            owners[os.path.abspath(path), int(page)] = site["number"]
            owners.setdefault((os.path.abspath(path), None), site["number"])
    names = [name[len("URL_") :] for name in measurements.get_feature_names("Image") if name.startswith("URL_")]
    known = {}
    for number in numbers:
        found = set()
        for name in names:
            path = os.path.abspath(url2pathname(measurements["Image", f"URL_{name}", number]))
            frame = None
            if measurements.has_feature("Image", f"Frame_{name}"):
                frame = measurements["Image", f"Frame_{name}", number]
            for key in ((path, int(frame or 0)), (path, None)):
                if key in owners:
                    found.add(owners[key])
                    break
        if len(found) == 1:
            known[number] = found.pop()
    return known


def _collect(measurements, image_number):
    """Measurements of one image set: ({image feature: value}, {object: {feature: values}})."""
    images, objects = {}, {}
    for name in measurements.get_object_names():
        if name == "Experiment":
            continue
        for feature in measurements.get_feature_names(name):
            value = measurements.get_measurement(name, feature, image_number)
            if name == "Image":
                if value is not None and not feature.startswith(VOLATILE):
                    images[feature] = value if isinstance(value, str) else float(np.ravel(value)[0])
            elif value is not None:
                objects.setdefault(name, {})[feature] = np.atleast_1d(value)
    return images, objects


def _masks(object_set, names):
    found = set(object_set.get_object_names())
    return {name: np.asarray(object_set.get_objects(name).segmented) for name in names if name in found}


def _words(error):
    """Type and first line of an error, short enough for a table."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


def _die_with_parent():
    """End this process when the runner is gone: nobody would read what it makes."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
