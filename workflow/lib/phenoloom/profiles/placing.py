"""What is in the wells of a plate, as the inputs of a rule say it."""

from phenoloom.core.tables import read_index, read_table
from phenoloom.ingest.layouts import layout_of_plate, read_platemap, simulated_layout


def layout_of(given, options):
    """What is in the wells of the plate; None for a table that brings it along."""
    if given.get("truth"):
        return simulated_layout(read_table(given.truth))
    if given.get("map"):
        return layout_of_plate(read_platemap(given.map, options), options["row"])
    return None


def imaged_wells(given):
    """(wells with usable images, wells with sites that gave features); None for a table that entered."""
    if not given.get("index"):
        return None
    return set(read_index(given.index)["well"]), set(read_table(given.measured, ["Metadata_Well"])["Metadata_Well"])
