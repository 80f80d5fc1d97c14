"""A field of an Opera Phenix: six channels of one site, whatever their compression."""

from phenoloom.core.images import read_image
from phenoloom.ingest.index import index_plate

CHANNELS = {"BF": "1", "ER": "ch2", "AGP": "ch3", "Mito": "ch4", "DNA": "ch05", "RNA": "CH6"}


def test_the_field_is_one_site_of_six_channels(shared_data):
    folder = shared_data("phenix_field")
    channels = {name: {"source": source} for name, source in CHANNELS.items()}
    index = index_plate("d", "b", "P", str(folder), channels, {"format": "phenix"})
    assert index.problems == []
    assert [(row["well"], row["site"], row["channel"]) for row in index.rows] == [("C03", 3, name) for name in CHANNELS]
    for number, row in enumerate(index.rows, start=1):
        assert row["path"].endswith(f"r03c03f03p01-ch{number}sk1fk1fl1.tiff")
        pixels = read_image(row)
        assert pixels.shape == (1080, 1080) and pixels.dtype.name == row["dtype"] == "uint16"
        assert pixels.std() > 0
