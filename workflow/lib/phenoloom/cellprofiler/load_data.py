"""load_data.csv of a batch, derived from the image index: the table that a LoadData pipeline reads.

Works on Python 3.9, for it runs in the CellProfiler environment.
"""

import csv
import os
import re

#: Column that leads from CellProfiler's image number back to the site; removed from the measurements.
SITE_COLUMN = "Metadata_PhenoloomSite"


def load_data_rows(sites, images, metadata, illumination):
    """Header and rows of load_data.csv for `sites` (see plan.read_sites).

    images: {image name: (what, value)} as pipeline.image_sources gives it. metadata: {name: field}. illumination:
    {channel: path of its .npy}. A Frame column (0-based page) stands only where a page is above 0.
    Raises ValueError when a site lacks a plane of a wanted channel.
    """
    fields = {"Dataset": "dataset", "Batch": "batch", "Plate": "plate", "Well": "well", "Site": "site"}
    fields.update(metadata)
    framed = {
        name: any(site["planes"].get(value, (None, 0))[1] for site in sites)
        for name, (what, value) in images.items()
        if what == "channel"
    }
    header = [SITE_COLUMN, *(f"Metadata_{name}" for name in fields)]
    for name in images:
        header += [f"FileName_{name}", f"PathName_{name}", *([f"Frame_{name}"] if framed.get(name) else [])]
    rows = []
    for site in sites:
        row = [site["number"], *(_field(site, field) for field in fields.values())]
        for name, (what, value) in images.items():
            if what == "channel":
                if value not in site["planes"]:
                    raise ValueError(f"{site['well']} site {site['site']} has no image of the channel {value}")
                path, page = site["planes"][value]
            else:
                path, page = (illumination[value] if what == "illumination" else value), 0
            folder, file = os.path.split(os.path.abspath(path))
            row += [file, folder, *([page] if framed.get(name) else [])]
        rows.append(row)
    return header, rows


def write_load_data(path, header, rows):
    """Write the table as UTF-8 CSV, everything quoted that needs it."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _field(site, field):
    if field in ("row", "column"):
        match = re.match(r"([A-Za-z]+)0*(\d+)$", site["well"])
        return match[1 if field == "row" else 2] if match else ""
    return site[field]
