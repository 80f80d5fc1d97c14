"""Rule figure_evaluation: the evaluation table and the details behind it -> figures."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.report.cell_scores import add_clusterings, add_comparison
from phenoloom.report.chains import chain_of
from phenoloom.report.gallery import Gallery
from phenoloom.report.scores import add_details, add_differences, add_overview


def main(snakemake):
    with job(snakemake) as run:
        gallery = Gallery(snakemake.output[0], run.origin())
        profiles = {profile_of(path): path for path in snakemake.input.profiles}
        chains = {name: chain_of(steps) for name, steps in snakemake.params.get("chains", {}).items()}
        scores = read_table(snakemake.input.table)
        add_overview(gallery, scores)
        add_differences(gallery, read_table(snakemake.input.comparison))
        add_comparison(gallery, scores, chains)
        evaluations, clusterings = snakemake.params.evaluations, {}
        for path in snakemake.input.details:
            *_, evaluation, dataset, representation, profile = Path(path).with_suffix("").parts
            options = evaluations[evaluation]
            if options["metric"] == "clusters":
                clusterings.setdefault((evaluation, dataset, representation), {})[profile] = read_table(path)
                continue
            table = None
            if options["metric"] in ON_PROFILES:
                table = read_table(profiles[dataset, representation, profile, options["level"]])
            add_details(gallery, read_table(path), evaluation, dataset, representation, profile, options, table)
        for where, details in clusterings.items():
            add_clusterings(gallery, details, chains, *where)
        gallery.write()


#: Metrics whose figures draw the profile's own values.
ON_PROFILES = ("dose_response", "control_separation")


def profile_of(path):
    """(dataset, representation, profile, level) of a table of profiles, from its path."""
    *_, dataset, _, representation, profile, file = Path(path).parts
    return dataset, representation, profile, Path(file).stem


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
