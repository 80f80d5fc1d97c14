"""The plan of one batch: everything the runner needs to know, from the image index and the config, as plain data.

Works on Python 3.9, for it runs in the CellProfiler environment; needs pyarrow only to read the index.
"""

import glob
import os

from phenoloom.cellprofiler import pipeline as pipelines


def make_plan(index, pipeline, channels, options, illumination):
    """Plan of a batch as a dict that JSON can hold.

    index: path of the batch's manifest (Parquet, core.tables.INDEX_SCHEMA). pipeline: path of the .cppipe.
    channels: the study's channels. options: images, metadata, files, metadata_files, masks as in the config.
    illumination: {channel: path of its .npy}. Raises ValueError, one sentence, when something is lacking.
    """
    sites, files = read_sites(index), _expand(options.get("files", ()))
    wrong = pipelines.missing_channels(
        pipeline,
        channels,
        options.get("images"),
        options.get("metadata"),
        illumination=bool(illumination),
        files=[path for site in sites for path, _ in site["planes"].values()] + files,
    )
    if wrong:
        raise ValueError("; ".join(wrong))
    kind = pipelines.kind(pipeline)
    images = metadata = {}
    if kind == pipelines.LOAD_DATA:
        images, _ = pipelines.image_sources(pipeline, channels, options.get("images"))
        metadata, _ = pipelines.metadata_sources(pipeline, options.get("metadata"))
        for name, (what, value) in images.items():
            if what == "illumination" and value not in illumination:
                raise ValueError(f"{pipeline} asks for {name}, but the illumination function of {value} was not given")
    return {
        "pipeline": os.path.abspath(pipeline),
        "kind": kind,
        "sites": sites,
        "images": images,
        "metadata": metadata,
        "illumination": {channel: os.path.abspath(path) for channel, path in illumination.items()},
        "files": files,
        "metadata_files": _expand(options.get("metadata_files", ())),
        "masks": list(options.get("masks", ())),
    }


def read_sites(index):
    """Sites of a manifest, sorted by well and site: list of dicts.

    Keys: number (from 1), dataset, batch, plate, well, site, planes ({channel: (path, page)}).
    """
    import pyarrow.parquet as parquet

    columns = ["dataset", "batch", "plate", "well", "site", "channel", "path", "page"]
    sites = {}
    for row in parquet.read_table(index, columns=columns).to_pylist():
        key = row["plate"], row["well"], row["site"]
        site = sites.setdefault(key, {**{name: row[name] for name in columns[:5]}, "planes": {}})
        site["planes"][row["channel"]] = (row["path"], row["page"] or 0)
    return [{"number": number, **sites[key]} for number, key in enumerate(sorted(sites), start=1)]


def lacking_channels(plan):
    """{site number: reason} of the sites that lack a plane of a channel which the pipeline asks for."""
    wanted = [value for what, value in plan["images"].values() if what == "channel"]
    reasons = {}
    for site in plan["sites"]:
        missing = [channel for channel in wanted if channel not in site["planes"]]
        if missing:
            reasons[site["number"]] = f"no image of the channel {', '.join(missing)}"
    return reasons


def _expand(patterns):
    """Files of glob patterns, sorted. Raises ValueError for a pattern that matches nothing."""
    found = []
    for pattern in patterns:
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not paths:
            raise ValueError(f"no file matches {pattern}, named under features.cellprofiler; correct the path")
        found.extend(os.path.abspath(path) for path in paths)
    return found
