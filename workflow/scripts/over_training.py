"""Rule over_training: evaluation table -> scores of models by epoch, their summary, and the figure."""

from phenoloom.core.files import atomic
from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.evaluation.over_training import by_epoch, summarise
from phenoloom.report.gallery import Gallery
from phenoloom.report.models import add_scores_by_epoch


def main(snakemake):
    with job(snakemake) as run:
        snapshots = {name: tuple(value) for name, value in snakemake.params.snapshots.items()}
        epochs = by_epoch(read_table(snakemake.input.table), snapshots)
        summary = summarise(epochs)
        run.save_table(snakemake.output.table, summary)
        with atomic(snakemake.output.csv) as partial:
            summary.to_csv(partial, index=False, float_format="%.6g")
        gallery = Gallery(snakemake.output.figures)
        add_scores_by_epoch(gallery, epochs)
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
