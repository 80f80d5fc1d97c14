"""Rule figure_training: logs of all trainings of a dataset -> their figure."""

from pathlib import Path

import pandas as pd

from phenoloom.core.job import job
from phenoloom.report.gallery import Gallery
from phenoloom.report.models import add_losses


def main(snakemake):
    with job(snakemake):
        gallery = Gallery(snakemake.output[0])
        add_losses(gallery, {Path(path).parts[-3:-1]: pd.read_csv(path) for path in snakemake.input.logs})
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
