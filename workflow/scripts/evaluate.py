"""Rule evaluate: profiles of one chain -> details and summary of one evaluation."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_table, write_arrow
from phenoloom.evaluation.evaluate import evaluate
from phenoloom.evaluation.table import summary_table


def main(snakemake):
    with job(snakemake) as run:
        options = snakemake.params.options
        result = evaluate(read_table(snakemake.input.profiles), options, run.seed)
        for lost in result.left_out.to_dict("records"):
            where = {"plate": lost.get("Metadata_Plate"), "well": lost.get("Metadata_Well")}
            run.ledger.add(lost["note"], unit="profile", **where)
        where = {key: run.wildcards[key] for key in ("dataset", "representation", "profile", "evaluation")}
        summary = summary_table(result, **where, metric=options["metric"], level=options["level"])
        print(summary.to_string(index=False))
        write_arrow(snakemake.output.details, result.details, run.origin(seed=run.seed))
        write_arrow(snakemake.output.summary, summary, run.origin(seed=run.seed))
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
