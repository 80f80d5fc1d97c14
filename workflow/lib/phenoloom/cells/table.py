"""The single-cell table of a plate, streamed batch by batch: joined, filtered, with every loss in the ledger."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.cellprofiler import measurements
from phenoloom.cells import filters, join
from phenoloom.core.errors import InputError
from phenoloom.core.tables import stream_table, to_arrow, write_table

PLACE = ["Metadata_Dataset", "Metadata_Batch", "Metadata_Plate", "Metadata_Well", "Metadata_Site"]


class Batch:
    """Measurements of one batch (.h5) as a piece of a plate; image numbers continue from `offset`."""

    def __init__(self, path, offset=0):
        self.path = path
        self.offset = offset
        self.sites = measurements.read_sites(path)
        self.features = measurements.read_features(path)

    def images(self):
        """One row per site: ImageNumber, Metadata_* and Image_*."""
        frame = measurements.read_images(self.path)
        frame.insert(0, "ImageNumber", np.arange(1, len(frame) + 1) + self.offset)
        return frame

    def objects(self, names):
        """{object: DataFrame} of the named objects; one that no site has is an empty table."""
        found = measurements.read_objects(self.path, names)
        for frame in found.values():
            frame["ImageNumber"] += self.offset
        return found


def write_plate(batches, failures, paths, options, coverage, ledger, excluded=None, origin=None, unusable=None):
    """Write the cells and the images of a plate from its batches.

    batches: paths of .h5. failures: paths of the batches' .jsonl. paths: (cells, images) to write. options: the block
    dataset.cells. coverage: least share of sites with features. excluded: DataFrame of quality's sites, or None.
    unusable: ledger (DataFrame) of the index; the sites that it lost count among those without features.
    Raises InputError, with the most frequent reasons, when fewer sites than `coverage` gave features.
    """
    for row in read_failures(failures):
        ledger.rows.append(row)
    pieces, offset = [], 0
    for path in batches:
        pieces.append(Batch(path, offset))
        offset += len(pieces[-1].sites)
    lost = Counter(_lost_before(unusable))
    total = offset + sum(lost.values())
    for row in read_failures(failures):
        if row["severity"] == "lost":
            lost[row["reason"]] += row["count"]
            total += row["count"]
    dropped = _excluded_sites(pieces, excluded, ledger, lost)
    check_coverage(total, lost, coverage, ledger.where.get("plate"))
    images = [piece.images() for piece in pieces if len(piece.sites)]
    images = pd.concat(images, ignore_index=True) if images else pd.DataFrame(columns=["ImageNumber", *PLACE])
    images = images[~images["ImageNumber"].isin(dropped)]
    available = sorted({name for piece in pieces for name in piece.features})
    if not available and total:
        raise InputError("the pipeline measured no objects at any site; it must identify nuclei or cells")
    chosen = join.choose_compartments(available, options.get("compartments"))
    write_cells(paths[0], pieces, images, chosen, options, ledger, origin)
    counts = pq.read_table(paths[0], columns=["Metadata_ImageNumber"]).column(0).to_pandas().value_counts()
    images["Metadata_Count_Cells"] = images["ImageNumber"].map(counts).fillna(0).astype(np.int64)
    images = images.rename(columns={"ImageNumber": "Metadata_ImageNumber"})
    write_table(paths[1], images.reset_index(drop=True), origin)


def write_cells(path, pieces, images, compartments, options, ledger, origin=None):
    """Join, filter and write the cells of `pieces` to `path`, one row group per piece.

    images: ImageNumber, Metadata_* (and Image_Width_*, Image_Height_* for the border filter) of the images to keep.
    The columns are the union over pieces; what a piece lacks is NaN.
    """
    metadata, columns = _union_columns(pieces, compartments)
    options = options or {}
    needed = filters.filter_columns(options, columns)
    place = [name for name in images.columns if name.startswith("Metadata_")]
    whole = place + metadata + columns
    where = images.set_index("ImageNumber")
    keep = _plan_filters(pieces, compartments, where, needed, options, ledger) if _wants(options) else None
    start = 0
    with stream_table(path, origin) as write:
        written = False
        for frame in _joined(pieces, compartments, where, ledger):
            frame = frame.reindex(columns=whole)
            if keep is not None:
                stop = start + len(frame)
                frame, start = frame[keep[start:stop]], stop
            if len(frame) or not written:
                write(_typed(frame, place, metadata, columns))
                written = True
        if not written:
            empty = pd.DataFrame({name: pd.Series(dtype=object) for name in whole})
            write(_typed(empty, place, metadata, columns))


def read_failures(paths):
    """Ledger rows of the batches, in order. Raises InputError for a file that is no JSON lines."""
    rows = []
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{path} is no ledger in JSON lines; remove it and run its batch again") from error
    return rows


def check_coverage(total, lost, coverage, plate=None):
    """Raise InputError when fewer than `coverage` of `total` sites are left after `lost` ({reason: count})."""
    gone, name = sum(lost.values()), f"plate {plate}" if plate else "the plate"
    if total and (total - gone) / total < coverage:
        frequent = "; ".join(f"{reason} ({count} sites)" for reason, count in lost.most_common(3))
        raise InputError(
            f"only {total - gone} of {total} sites of {name} gave features, less than the coverage of {coverage:g}; "
            f"most frequent reasons: {frequent}; mend them and `make retry`, lower 'coverage', or go on without the "
            "plate by the dataset's exclude_plates"
        )
    if not total:
        raise InputError(f"{name} has no sites; check its images and the file-name pattern in the study's config")


def _lost_before(ledger):
    """{reason: number} of the sites that a ledger (DataFrame or None) lists as lost."""
    if ledger is None:
        return {}
    rows = ledger[(ledger["unit"] == "site") & (ledger["severity"] == "lost")]
    return rows.groupby("reason")["count"].sum().to_dict()


def _excluded_sites(pieces, excluded, ledger, lost):
    """Image numbers of the sites that quality excluded; counts them in `lost` and the ledger."""
    if excluded is None or excluded.empty:
        return set()
    bad = excluded[excluded["Metadata_Excluded"].astype(bool)]
    flags = dict(zip(zip(bad["Metadata_Well"], bad["Metadata_Site"], strict=True), bad["Metadata_Flags"], strict=True))
    numbers = set()
    for piece in pieces:
        for row, (well, site) in enumerate(
            zip(piece.sites["Metadata_Well"], piece.sites["Metadata_Site"], strict=True), start=1
        ):
            if (well, site) in flags:
                reason = f"excluded by quality control: {flags[well, site]}"
                numbers.add(row + piece.offset)
                lost[reason] += 1
                ledger.add(reason, unit="site", well=well, site=site)
    return numbers


def _union_columns(pieces, compartments):
    metadata, columns = [], []
    for piece in pieces:
        if all(name in piece.features for name in compartments):
            more, features = join.joined_columns({name: piece.features[name] for name in compartments})
            metadata += [name for name in more if name not in metadata]
            columns = features if not columns else columns + sorted(set(features) - set(columns))
    return metadata, columns


def _joined(pieces, compartments, where, ledger=None):
    """Joined cells of each piece with the metadata of their images; pieces without cells are left out."""
    for piece in pieces:
        lacking = [name for name in compartments if name not in piece.features]
        objects = {} if lacking else piece.objects(compartments)
        if lacking or all(frame.empty for frame in objects.values()):
            continue
        objects = {name: frame[frame["ImageNumber"].isin(where.index)] for name, frame in objects.items()}
        cells, refused, orphans = join.join_compartments(objects)
        if ledger is not None:
            for number, reason in refused.items():
                row = where.loc[number]
                ledger.add(reason, unit="site", well=row.get("Metadata_Well"), site=row.get("Metadata_Site"))
            if orphans:
                ledger.add("objects without the parent that would make them a whole cell", unit="cell", count=orphans)
        place = where.loc[cells["Metadata_ImageNumber"], [c for c in where.columns if c.startswith("Metadata_")]]
        yield pd.concat([place.reset_index(drop=True), cells.reset_index(drop=True)], axis=1)


def _wants(options):
    return bool(options.get("border") or options.get("outliers") or options.get("minimum_per_well"))


def _plan_filters(pieces, compartments, where, needed, options, ledger):
    """Which cells of the plate stay, in the order of `_joined`; the reasons of the others go to the ledger."""
    columns = ["Metadata_ImageNumber", "Metadata_Well", *dict.fromkeys(needed)]
    frames = [frame.reindex(columns=columns) for frame in _joined(pieces, compartments, where)]
    cells = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    width, height = (_size(where, side) for side in ("Width", "Height"))
    if options.get("border") and width.isna().any():
        raise InputError("the border filter needs the size of the images, which the measurements lack")
    numbers = cells["Metadata_ImageNumber"]
    keep, reasons = filters.keep_cells(cells, options, numbers.map(width), numbers.map(height))
    for reason, count in reasons.items():
        ledger.add(reason, unit="cell", count=count)
    return keep


def _size(where, side):
    """Width or height of each image in pixels: the largest that the measurements name, NaN where they name none."""
    names = [name for name in where.columns if name.startswith(f"Image_{side}_")]
    return where[names].max(axis=1) if names else pd.Series(np.nan, index=where.index)


def _typed(frame, place, metadata, columns):
    """Arrow table of stable types: text place, integer keys, float32 features."""
    arrays, fields = [], []
    for name in [*place, *metadata, *columns]:
        values = frame[name]
        if name in columns:
            array = pa.array(values.to_numpy(dtype=np.float32), from_pandas=False)
        elif name in metadata:
            array = pa.array(values.fillna(0).to_numpy(dtype=np.int64))
        elif name == "Metadata_Site":
            array = pa.array(pd.to_numeric(values, errors="coerce").fillna(0).to_numpy(dtype=np.int64))
        else:
            array = pa.array([None if value is None or value != value else str(value) for value in values], pa.string())
        arrays.append(array)
        fields.append(name)
    return to_arrow(pa.table(arrays, names=fields))
