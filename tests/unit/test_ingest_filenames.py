"""Names of files: patterns, instruments, zero padding, case, and sites from 0 or 1."""

import pytest

from phenoloom.core.errors import InputError
from phenoloom.ingest.filenames import (
    CELLVOYAGER,
    IMAGEXPRESS,
    PHENIX,
    channel_key,
    compile_pattern,
    compile_regex,
    place_of,
)


def fields(pattern, name):
    match = compile_pattern(pattern).fullmatch(name)
    return match and match.groupdict()


def test_a_pattern_reads_its_fields_without_regard_to_case_and_padding():
    found = fields("{well}_s{site}_{channel}.tif", "b2_S003_DNA (1).TIF")
    assert place_of(found) == ("B02", 3)
    assert found["channel"] == "DNA (1)"


def test_row_and_column_may_stand_apart_and_be_numbers():
    assert place_of(fields("Channel{channel}-{any}-{row}-{column}.tif", "Channel1-01-A-01.tif")) == ("A01", 1)
    assert place_of({"row": "16", "column": "024", "site": "0"}, site_base=0) == ("P24", 1)


def test_regular_characters_of_a_pattern_mean_themselves():
    assert fields("{well}[a+b].{channel}.tif", "A01[a+b].DNA.tif")
    assert fields("{well}[a+b].{channel}.tif", "A01aab.DNA.tif") is None


def test_alternatives_limit_a_field():
    pattern = "{channel:w1|w12}{well}.tif"
    assert fields(pattern, "w1B02.tif")["well"] == "B02"
    assert fields(pattern, "w12B02.tif")["channel"] == "w12"
    assert fields(pattern, "w3B02.tif") is None


@pytest.mark.parametrize("pattern", ["{site}.tif", "{well}_{row}x{wel}.tif", "{well}_{well}.tif"])
def test_a_pattern_that_cannot_work_is_said(pattern):
    with pytest.raises(InputError, match="images.pattern"):
        compile_pattern(pattern)


def test_a_broken_regular_expression_is_said():
    with pytest.raises(InputError, match="images.regex"):
        compile_regex("(?P<well>")


def test_site_zero_needs_its_base():
    with pytest.raises(ValueError, match="site_base: 0"):
        place_of({"well": "A01", "site": "0"})


@pytest.mark.parametrize("text", ["I1!", "row 9"])
def test_no_well_is_no_well(text):
    with pytest.raises(ValueError, match="not a well"):
        place_of({"well": text})


@pytest.mark.parametrize(
    ("name", "well", "site", "channel"),
    [
        ("G10_s1_w1BEDC2073-A983-4B98-95E9-84466707A25D.tif", "G10", "1", "1"),
        ("G10_s1_w43CD51CBC-2370-471F-BA01-EE250B14B3C8.tif", "G10", "1", "4"),
        ("Week5_130707_C02_s2_w103EDE4ED-D4B4-4C13-A495-21D91EE33E78.tif", "C02", "2", "1"),
        ("plate_A01_w12.TIF", "A01", None, "12"),
        ("exp 3_p02_s16.tiff", "p02", "16", None),
        ("AF48_s4_w2.tif", "AF48", "4", "2"),
    ],
)
def test_imagexpress_names(name, well, site, channel):
    found = IMAGEXPRESS.fullmatch(name).groupdict()
    assert (found["well"], found["site"], found["channel"]) == (well, site, channel)


def test_phenix_and_cellvoyager_names():
    found = PHENIX.fullmatch("r03c03f03p01-ch1sk1fk1fl1.tiff").groupdict()
    assert place_of(found) == ("C03", 3) and found["channel"] == "1"
    found = CELLVOYAGER.fullmatch("CP_A01_T0001F012L01A02Z03C04.tif").groupdict()
    assert place_of(found) == ("A01", 12)
    assert (found["z"], found["channel"], found["action"]) == ("03", "04", "02")


def test_channel_names_meet_without_padding_and_case():
    assert channel_key("C01") == channel_key("c1")
    assert channel_key("w10") != channel_key("w1")
    assert channel_key("Alexa 568") == channel_key("alexa 568 ")
