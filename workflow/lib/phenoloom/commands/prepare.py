"""`prepare`: fetch and index the images of a study, which decides the shape of the workflow."""

import os


def add(parser):
    parser.add_argument("config")
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def call(given):
    from phenoloom.config.loading import read_config

    everything(read_config(given.config), given.threads)
    return 0


def everything(config, threads=None, again=None):
    """Do what comes before the DAG: index the images, and put declared illumination functions in their place.

    config: completed. again: see ingest.prepare.prepare.
    """
    from phenoloom.config.study import Study
    from phenoloom.core.words import count
    from phenoloom.cytometry.prepare import prepare as prepare_events
    from phenoloom.illumination import frozen
    from phenoloom.ingest.prepare import prepare

    results = f"results/{config['study']}"
    prepare(config, results, threads=threads, again=again)
    prepare_events(config, results, threads or os.cpu_count() or 1)
    study = Study(config, results)
    for dataset in study.image_datasets():
        shapes = {plate: study.image_shape(dataset, plate) for plate in study.plates(dataset)}
        pattern = study.frozen(dataset)
        changed = frozen.settle(f"{results}/{dataset}/illumination", pattern, shapes, study.channels(dataset))
        if changed:
            words = "put in place" if pattern else "taken away, to be estimated"
            print(f"{dataset}: {count(changed, 'declared illumination function')} {words}")
