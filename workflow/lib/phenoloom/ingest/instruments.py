"""Files that instruments leave beside the images: Harmony's Index.idx.xml, CellVoyager's .mlf, MetaXpress's .HTD."""

import csv
import os
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from phenoloom.core.errors import InputError
from phenoloom.core.wells import well_name
from phenoloom.ingest.filenames import Plane, number

#: Harmony writes some tens of lines per image; a plate of 384 wells has about 100 MB.
MAX_XML = 2**31


def elements(path, wanted):
    """Yield (name without namespace, element) of the wanted elements of an XML file, one after the other, in memory
    no longer than needed. Entities and external references are refused. Raises InputError naming the file.
    """
    try:
        if os.path.getsize(path) > MAX_XML:
            raise InputError(f"{path} is larger than {MAX_XML} bytes; this is no index of a plate")
        with open(path, "rb") as file:
            for _, element in iterparse(file, events=("end",), forbid_dtd=True):
                name = element.tag.rsplit("}", 1)[-1]
                if name in wanted:
                    yield name, element
                    element.clear()
    except (ParseError, DefusedXmlException, OSError, UnicodeError, LookupError) as error:
        raise InputError(f"{path} is not an XML file that can be read safely ({type(error).__name__})") from error


def phenix_planes(path):
    """Planes listed in Harmony's index (versions 4 to 6), in the order of the file; images lie beside it."""
    folder, planes, names = os.path.dirname(path), [], {}
    for name, element in elements(path, ("Image", "Entry")):
        fields = {child.tag.rsplit("}", 1)[-1]: (child.text or "").strip() for child in element}
        if name == "Entry":  # from version 6 on the names of channels stand in a map
            if element.get("ChannelID") and fields.get("ChannelName"):
                names[element.get("ChannelID")] = fields["ChannelName"]
            continue
        if not fields.get("URL"):
            continue
        try:
            well = well_name(int(fields["Row"]) - 1, int(fields["Col"]) - 1)
            site, channel = int(fields["FieldID"]), fields["ChannelID"]
            z, time = number(fields.get("PlaneID")), number(fields.get("TimepointID"))
        except (KeyError, ValueError) as error:
            raise InputError(f"{path} lists an image without row, column, field or channel ({error})") from error
        if fields.get("ChannelName"):
            names[channel] = fields["ChannelName"]
        # Only the file's name counts: a URL must not lead out of the folder.
        file = os.path.join(folder, os.path.basename(fields["URL"].replace("\\", "/")))
        planes.append(Plane(well, site, (channel,), z, time, file, 0, path))
    return [
        plane._replace(aliases=tuple(filter(None, (f"ch{plane.aliases[0]}", names.get(plane.aliases[0])))))
        for plane in planes
    ]


def cellvoyager_planes(path):
    """(planes, errors) of a MeasurementData.mlf: errors are (well, site, text) of images that were not taken."""
    folder, planes, errors = os.path.dirname(path), [], []
    for _, element in elements(path, ("MeasurementRecord",)):
        record = {name.rsplit("}", 1)[-1]: value for name, value in element.attrib.items()}
        try:
            well = well_name(int(record["Row"]) - 1, int(record["Column"]) - 1)
            site = int(record["FieldIndex"])
        except (KeyError, ValueError) as error:
            raise InputError(f"{path} has a record without row, column or field ({error})") from error
        text = (element.text or "").strip()
        if record.get("Type") != "IMG" or not record.get("Ch"):
            errors.append((well, site, text or "no reason given"))
            continue
        file = os.path.join(folder, os.path.basename(text.replace("\\", "/")))
        channel, action = int(record["Ch"]), number(record.get("ActionIndex")) or 1
        aliases = (f"C{channel}", str(channel), f"A{action}C{channel}")
        planes.append(
            Plane(well, site, aliases, number(record.get("ZIndex")), number(record.get("TimePoint")), file, 0, path)
        )
    return planes, errors


def wavelength_names(path):
    """{"1": "DAPI", ...} from a MetaXpress .HTD file; {} where it names none."""
    with open(path, encoding="latin-1", newline="") as file:
        rows = [[cell.strip().strip('"') for cell in row] for row in csv.reader(file, skipinitialspace=True)]
    pairs = {row[0]: row[1] for row in rows if len(row) > 1}
    return {key.removeprefix("WaveName"): value for key, value in pairs.items() if key.startswith("WaveName") and value}
