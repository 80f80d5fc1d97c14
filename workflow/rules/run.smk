"""The run itself: its events are written as they happen, and when it ends, what it did and what failed."""

from snakemake.logging import logger as snakemake_logger

from phenoloom.record.ending import finish
from phenoloom.record.events import EventLog, new_path
from phenoloom.running.previous import MARK

event_log = EventLog()
if workflow.is_main_process:
    snakemake_logger.addHandler(event_log)
    event_log.start_where_asked()  # a dry run leaves its events nowhere else


onstart:
    if event_log.path is None:
        event_log.start(new_path(study.results))
        os.environ.update({MARK: event_log.path.stem})  # known by it, processes that outlive their head are stopped


onsuccess:
    event_log.end("finished")
    finish(study.results, event_log.path, config, {rule.name: rule.params.get("code") for rule in workflow.rules})


onerror:
    event_log.end("failed")
    finish(study.results, event_log.path, config, {rule.name: rule.params.get("code") for rule in workflow.rules})
