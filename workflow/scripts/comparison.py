"""Rule comparison: details of evaluations -> differences between profiles on the units that both have."""

from phenoloom.core.files import write_text
from phenoloom.core.job import job
from phenoloom.core.tables import read_table, write_arrow
from phenoloom.evaluation.comparison import compare, comparison_table


def main(snakemake):
    with job(snakemake) as run:
        params, rows = snakemake.params, []
        pairs = zip(params.pairs, snakemake.input.details, snakemake.input.against, strict=True)
        for (evaluation, dataset, profile, reference), details, against in pairs:
            options = params.options[evaluation]
            where = {"evaluation": evaluation, "metric": options["metric"], "level": options["level"]}
            where |= {"dataset": dataset} | dict(zip(("representation", "profile"), profile, strict=True))
            where |= dict(zip(("against_representation", "against_profile"), reference, strict=True))
            found = compare(read_table(details), read_table(against), options, run.seed)
            rows += [{**where, **row} for row in found]
        table = comparison_table(rows)
        print(table.to_string(index=False))
        write_arrow(snakemake.output.parquet, table, run.origin())
        write_text(snakemake.output.csv, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
