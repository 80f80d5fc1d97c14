"""Rule figure_illumination: illumination functions of one dataset -> pictures of them and of their strength."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.names import decode
from phenoloom.report.gallery import Gallery
from phenoloom.report.illumination import function_maps, function_ranges, read_function


def main(snakemake):
    with job(snakemake) as run:
        gallery = Gallery(snakemake.output[0], run.origin())
        functions = {
            (decode(Path(path).parent.name), Path(path).stem): read_function(path) for path in snakemake.input.functions
        }
        function_maps(gallery, functions, snakemake.params.channels)
        function_ranges(gallery, functions, snakemake.params.channels)
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
