"""`prepare`: fetch and index the images of a study, which decides the shape of the workflow."""

import os


def add(parser):
    parser.add_argument("config")
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def call(given):
    from phenoloom.config.loading import read_config
    from phenoloom.ingest.prepare import prepare

    config = read_config(given.config)
    prepare(config, f"results/{config['study']}", threads=given.threads)
    return 0
