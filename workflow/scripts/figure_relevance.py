"""Rule figure_relevance: relevance of cells, and the images of a dataset -> what relevant cells are like."""

from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.job import job
from phenoloom.core.names import decode
from phenoloom.core.tables import read_index, read_table
from phenoloom.report.gallery import Gallery
from phenoloom.report.montage import by_plate, display_colours, read_functions
from phenoloom.report.relevance import add_correlations, add_histograms
from phenoloom.report.relevant_cells import KEYS, Images, add_cells, add_field, choose_wells, placed_cells


def main(snakemake):
    with job(snakemake) as run:
        given, wildcards = snakemake.input, run.wildcards
        gallery = Gallery(snakemake.output[0], run.origin())
        title = "/".join(wildcards[name] for name in ("dataset", "representation", "profile"))
        cells, wells = read_table(given.cells), read_table(given.wells)
        if cells.empty:
            gallery.note("Which cells count: nothing to show because no well on the chosen plates holds a compound.")
        else:
            add_histograms(gallery, cells, title)
            add_correlations(gallery, read_table(given.features), title)
            draw_cells(gallery, snakemake, cells, wells, title, run.seed)
        gallery.write()


def draw_cells(gallery, snakemake, cells, wells, title, seed):
    """Pictures of cells, where they were measured in images that are there."""
    given, options = snakemake.input, snakemake.params.options
    if not given.get("index"):
        gallery.note(f"No pictures of cells: {title} has no images, only the table that entered.")
        return
    chosen = choose_wells(wells, options["wells"])
    shown = cells.merge(chosen[KEYS], on=KEYS)
    try:
        placed, name = placed_cells(shown, {decode(Path(path).stem): path for path in given.tables})
    except InputError as error:
        gallery.note(f"No pictures of cells of {title}: {error}.")
        return
    functions, masks = read_functions(given.get("functions", [])), by_plate(given.get("measurements", []))
    colours = display_colours(gallery, snakemake.params.channels, snakemake.params.colours)
    images = Images(read_index(given.index), functions, masks, colours)
    add_cells(gallery, chosen, placed, images, name, options["crop"], options["per"], seed, title)
    add_field(gallery, chosen, placed, images, name, options["crop"], title)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
