"""Cells to wells with bounded memory: features are read a few columns at a time, cells are sorted by well once."""

import copy
import functools
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.profiles.annotation import KEYS, STANDARD, annotate, as_text, canonical_well, list_empty_wells
from phenoloom.profiles.chain import parse, problems
from phenoloom.profiles.covariances import Projection, upper_covariances
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.kinds import ENDINGS, PROJECTED
from phenoloom.profiles.queries import columns_of, select
from phenoloom.profiles.scaling import GROUPS, scale_block
from phenoloom.profiles.tvn import Fit

#: Bytes of one block of columns; a block lives some five times at once, so that memory stays below 1 GB.
BLOCK_BYTES = 2**27

#: Columns that name a unit within its well; they order the units, so that the order of rows in the file is no matter.
UNIT_KEYS = ("Metadata_Site", "Metadata_ImageNumber", "Metadata_ObjectNumber")

_COUNTS = ("Metadata_Count_Cells", "Metadata_Count_Sites")


def aggregate_table(path, steps, ledger, dropped, seed=0, **given):
    """Wells of one table of cells or sites: the steps up to and including `aggregate`, annotated with the layout.

    path: Parquet table with Metadata_Plate and Metadata_Well, one row per unit. steps: config list, complete options.
    layout: DataFrame of the dataset or None; plates: true names of the plates due (for wells without any cell).
    imaged: see annotation.list_empty_wells. fitted: tvn.Fitted of the step tvn where it goes by dataset or batch. These
    and the others of `prepared` may be `given`. seed: of the projection of covariances.
    Returns a DataFrame, one row per well: standard metadata, Metadata_Count_Cells, Metadata_Count_Sites, features as
    float64. Missing values are skipped as pandas does; infinite ones are missing. Memory: a few blocks of
    `block_bytes` plus the metadata columns.
    Raises InputError for a chain that cannot work on this level and for a table without keys or features.
    """
    return prepared(path, steps, ledger, dropped, **given).aggregate(parse(steps)[-1][1], seed)


def prepared(
    path,
    steps,
    ledger,
    dropped,
    layout=None,
    plates=None,
    level="cells",
    block_bytes=BLOCK_BYTES,
    imaged=None,
    fitted=None,
):
    """Units of one table after the steps before the last one, which is to make wells of them. See aggregate_table."""
    found = problems(steps, level)
    if found:
        raise InputError(f"the profile chain cannot work on {path.name if hasattr(path, 'name') else path}: {found[0]}")
    units = Units(path, level, ledger, dropped, layout, plates, block_bytes, imaged)
    for name, options in parse(steps)[:-1]:
        if name == "filter":
            units.filter(options)
        elif name == "normalize":
            units.normalize(options)
        elif name == "tvn":
            units.whiten(options, fitted)
    return units


def fit_tvn(tables, steps, level, ledger, dropped, block_bytes=BLOCK_BYTES):
    """Fit the step tvn over the control sites of all tables of a dataset, one table in memory after the other.

    tables: list of (path, layout or None) in a fixed order. steps: config list up to and including tvn. Its own rows go
    to `ledger` and `dropped`; what the steps before it leave out is told where wells are made.
    Returns a tvn.Fitted. Raises InputError when there are too few control sites or the tables share no feature.
    """
    schemas = {path: feature_columns(_open(path).schema_arrow) for path, _ in tables}
    every = dict.fromkeys(name for names in schemas.values() for name in names)
    shared = [name for name in every if all(name in names for names in map(set, schemas.values()))]
    if not shared:
        raise InputError("step tvn: the tables of the plates share no feature; leave out those of another kind")
    for name in every:
        if name not in set(shared):
            dropped.add("feature", name, "tvn", "not in the tables of all plates")
    *before, (_, options) = parse(steps)
    fit = Fit(shared, options)
    for path, layout in tables:
        units = Units(path, level, Ledger("tvn"), Dropped(), layout, None, block_bytes)
        units.features = shared
        for name, given in before:
            getattr(units, name)(given)
        fit.add(*units.control_sites(options))
    found = fit.result()
    if not found.whitenings:
        raise InputError(
            f"step tvn finds {sum(found.found.values())} sites with {options['samples']} where it needs at least "
            f"{options['minimum_samples']}; mark the negative controls in the plate map or choose other samples"
        )
    found.tell(ledger, options, dropped)
    return found


class Units:
    """Rows of one table of cells or sites, of which features are read in blocks of columns."""

    def __init__(self, path, level, ledger, dropped, layout, plates, block_bytes=BLOCK_BYTES, imaged=None):
        self.path, self.level, self.ledger, self.dropped = path, level, ledger, dropped
        self.block_bytes = block_bytes
        file = _open(path)
        self._read = functools.partial(file.read, use_threads=True)
        schema = file.schema_arrow
        missing = [name for name in KEYS if name not in schema.names]
        if missing:
            raise InputError(f"{path} has no column {missing[0]}, so that its rows belong to no well")
        self.features = feature_columns(schema)
        if not self.features:
            raise InputError(f"{path} has no numeric feature column; every numeric column that is no Metadata_* is one")
        self.metadata = _read_metadata(file, metadata_columns(schema.names))
        self.codes, wells = _wells_of(self.metadata, level, ledger)
        self.scalings = []
        present = set(wells[KEYS].itertuples(index=False, name=None))
        if layout is not None:
            due = plates if plates is not None else wells["Metadata_Plate"].unique()
            list_empty_wells(layout, due, present, level, ledger, imaged)
        wells = self._carry_constant(wells)
        placed = annotate(wells, layout, ledger)
        self._leave_out(
            np.setdiff1d(wells.index.to_numpy(), placed.index.to_numpy()), wells, "annotate", "no place in the layout"
        )
        self.wells = placed
        self.rows_of_wells = wells

    def filter(self, options):
        """Keep the units for which the query over metadata and features holds; the others are counted per well."""
        named = columns_of(options["query"], self.features)
        frame = self._described(columns_of(options["query"], self._metadata_names()))
        if named:
            values = pd.DataFrame(self._block(named).T, columns=named, index=frame.index)
            frame = pd.concat([frame, values], axis="columns")
        chosen = select(frame, options["query"], "filter", [*self._metadata_names(), *self.features])
        gone = np.bincount(self.codes[(self.codes >= 0) & ~chosen], minlength=len(self.rows_of_wells))
        for code in np.flatnonzero(gone):
            plate, well = self.rows_of_wells.loc[code, KEYS]
            reason = f"not {options['query']}"
            self.dropped.add("cell" if self.level == "cells" else "well", well, "filter", reason, plate, gone[code])
        self.codes = np.where(chosen, self.codes, -1)

    def normalize(self, options):
        """Normalise every feature per plate against the units that the query over metadata chooses.

        A plate with too few of them is lost: its wells go to the ledger.
        """
        reference = self._reference(options, "normalize")
        plate_of_well = self.wells["Metadata_Plate"].reindex(self.rows_of_wells.index)
        groups, plates = [], sorted(plate_of_well.dropna().unique())
        for plate in plates:
            wells = plate_of_well.index[plate_of_well == plate].to_numpy()
            rows = np.flatnonzero(np.isin(self.codes, wells))
            found = int(reference[rows].sum())
            if found >= options["minimum_samples"]:
                groups.append(rows)
                continue
            self.ledger.add(
                f"plate {plate} has {found} {self.level} with {options['samples']} where step normalize needs at least "
                f"{options['minimum_samples']}; its {len(wells)} wells are left out",
                unit="well",
                count=len(wells),
                plate=plate,
            )
            self._leave_out(wells, self.rows_of_wells, "normalize", "too few reference cells to normalise against")
        self.scalings.append((options, reference, groups))

    def aggregate(self, options, seed=0):
        """One row per well: statistics of its units, wells with fewer cells than `minimum_cells` left out.

        Medians or means, and where the options ask for them dispersions and covariances, as profiles.kinds names them.
        """
        self._leave_out_features(options["blocklist"])
        second = bool(options["dispersion"] or options["covariances"])
        order, starts, metadata = self._counted_wells(options, fewest=1 + second)
        operations = [options["operation"], *filter(None, [options["dispersion"]])]
        parts = self._reduced(order, starts, operations, "aggregate")
        names = [name + ENDINGS.get(operation, "") for operation in operations for name in self.features]
        if options["covariances"]:
            parts = [*parts, self._covariances(order, starts, options["covariances"], seed)]
            names += [PROJECTED.format(number + 1) for number in range(options["covariances"])]
        if len(set(names)) < len(names):
            doubled = next(name for name in self.features if names.count(name) > 1)
            raise InputError(f"{self.path} has a feature {doubled}, as step aggregate would call another; rename it")
        features = pd.DataFrame(np.concatenate(parts).T, columns=names, index=metadata.index)
        frame = pd.concat([metadata, features], axis=1)
        return frame.sort_values(["Metadata_Batch", *KEYS], kind="stable").reset_index(drop=True)

    def by_well(self, features, options):
        """(wells, starts, blocks) of the units that are left, one well after the other.

        wells: DataFrame, the metadata of each. starts: (wells + 1,) first unit of each and the end. blocks: iterator of
        (slice of `features`, their values (d, units)). Wells with fewer cells than `minimum_cells` are left out.
        """
        order, starts, metadata = self._counted_wells(options)
        width = self._block_width()
        parts = (slice(first, min(first + width, len(features))) for first in range(0, len(features), width))
        return metadata, starts, ((part, self._block(features[part], order)) for part in parts)

    def keys_by_well(self):
        """DataFrame of the units in the order of `by_well`, once that was asked for: plate, well, what names them
        within, and Metadata_Row, their row in the table.
        """
        order, *_ = self._order()
        places = self.rows_of_wells.loc[self.codes[order], KEYS].reset_index(drop=True)
        own = self.metadata[[name for name in UNIT_KEYS if name in self.metadata]].iloc[order].reset_index(drop=True)
        return pd.concat([places, own], axis=1).assign(Metadata_Row=order)

    def _counted_wells(self, options, fewest=1):
        """(order, starts) of _order, and the metadata of the wells with their numbers of cells and sites.

        fewest: units that a well's statistics need.
        """
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.rows_of_wells))
        cells = self._cells(counts)
        self._leave_out_small(cells, counts, options["minimum_cells"])
        self._leave_out_few(fewest)
        order, kept, starts = self._order()
        metadata = self.wells.loc[kept].copy()
        metadata["Metadata_Count_Cells"] = pd.array(cells[kept], dtype="Int64") if cells is not None else pd.NA
        metadata["Metadata_Count_Sites"] = pd.array(self._sites()[kept], dtype="Int64")
        return order, starts, metadata.drop(columns=[name for name in _COUNTS if metadata[name].isna().all()])

    def to_sites(self, operation):
        """One row per site from here on: median or mean of its cells. Rows that are sites already stay as they are."""
        order, _, starts = self._order()
        metadata = self.metadata.iloc[order].reset_index(drop=True)
        if self.level == "cells":
            site = next((name for name in UNIT_KEYS[:2] if name in metadata), None)
            if site is None:
                raise InputError(f"{self.path} has no column {UNIT_KEYS[0]}, by which step tvn tells sites apart")
            places = pd.factorize(metadata[site])[0]
            new = (np.diff(places, prepend=-2) != 0) | (np.diff(self.codes[order], prepend=-2) != 0)
            firsts = np.flatnonzero(new)
            metadata = metadata.loc[firsts, [*KEYS, site]].reset_index(drop=True)
            metadata["Metadata_Count_Cells"] = np.diff(firsts, append=len(order))
        else:
            firsts = np.arange(len(order))
        (values,) = self._reduced(order, np.append(firsts, len(order)), [operation], "tvn")
        self._hold(values.T, self.features, metadata, self.codes[order][firsts])

    def control_sites(self, options):
        """(values (n, d), groups (n,)) of the sites that the step tvn is fitted on, with the names of their groups."""
        self.codes = np.where(self._reference(options, "tvn"), self.codes, -1)
        self.to_sites(options["operation"])
        return self._block(self.features).T.astype(float), self._groups(options)

    def whiten(self, options, fitted=None):
        """Rows become sites, and their features typical variation normalised.

        fitted: tvn.Fitted over all plates; None fits each plate on its own control sites. Sites that lack a value and
        the wells of a plate (batch) with too few control sites are left out, and said.
        """
        if fitted is None:
            fitted = self._fit_plates(options)
        self.to_sites(options["operation"])
        values, groups = self._block(fitted.features).T.astype(float), self._groups(options)
        self._leave_out_unfitted(options, fitted)
        self._leave_out_incomplete(values, fitted.features)
        names = fitted.columns(options["method"])
        whitened = np.zeros((len(values), len(names)))
        for group, whitening in fitted.whitenings.items():
            rows = np.flatnonzero((groups == group) & (self.codes >= 0))
            whitened[rows] = whitening.transform(values[rows], options["method"])
        self._hold(whitened, names, self.metadata, self.codes)

    def _reduced(self, order, starts, operations, step):
        """(operations, features, segments) float64: statistics of consecutive segments of rows, block by block."""
        result = np.empty((len(operations), len(self.features), len(starts) - 1))
        infinite = np.zeros(len(self.features), dtype=np.int64)
        width = self._block_width()
        for first in range(0, len(self.features), width):
            names = self.features[first : first + width]
            block = self._block(names, order, infinite[first : first + width])
            for number, operation in enumerate(operations):
                result[number, first : first + width] = aggregate_segments(block, starts, operation)
        for name, count in zip(self.features, infinite, strict=True):
            if count:
                self.dropped.add("value", name, step, "infinite, taken as missing", self._plate(), count)
        return result

    def _covariances(self, order, starts, columns, seed):
        """(columns, wells) projected covariances of consecutive segments of rows, as many wells in memory as fit."""
        projection = Projection(self.features, columns, seed)
        result = np.empty((columns, len(starts) - 1))
        unknown = np.zeros(len(self.features), dtype=np.int64)
        firsts = np.cumsum(np.arange(len(self.features), 0, -1)) - np.arange(len(self.features), 0, -1)
        for wells in self._portions(starts):
            cells = self._all_features(order[starts[wells.start] : starts[wells.stop]])
            for well in range(wells.start, wells.stop):
                own = slice(starts[well] - starts[wells.start], starts[well + 1] - starts[wells.start])
                covariances = upper_covariances(cells[:, own])
                unknown += np.isnan(covariances[firsts])
                result[:, well] = projection(np.nan_to_num(covariances))
        for name, count in zip(self.features, unknown, strict=True):
            if count:
                reason = "fewer than two values in a well, where its covariances count as 0"
                self.dropped.add("value", name, "aggregate", reason, self._plate(), count)
        return result

    def _portions(self, starts):
        """Slices of wells whose cells take, all features together, no more than two blocks; of one well at least."""
        most = 2 * self.block_bytes // (4 * len(self.features))
        first = 0
        while first < len(starts) - 1:
            last = max(first + 1, int(np.searchsorted(starts, starts[first] + most, side="right")) - 1)
            yield slice(first, last)
            first = last

    def _all_features(self, rows):
        """Values (features, rows) float32."""
        values = np.empty((len(self.features), len(rows)), dtype=np.float32)
        width = self._block_width()
        for first in range(0, len(self.features), width):
            values[first : first + width] = self._block(self.features[first : first + width], rows)
        return values

    def _hold(self, values, names, metadata, codes):
        """Go on with rows in memory: values (n, d), their feature names, metadata (n rows) and the code of the well."""
        table = pa.table(dict(zip(names, values.T, strict=True)))
        self._read = table.select
        self.features, self.metadata, self.codes = list(names), metadata, codes
        self.level, self.scalings = "sites", []

    def _reference(self, options, step):
        """Which units the query over metadata chooses, bool (n,)."""
        frame = self._described(columns_of(options["samples"], self._metadata_names()))
        return select(frame, options["samples"], step, self._metadata_names()) & (self.codes >= 0)

    def _groups(self, options):
        """Name of the group of `by` of each unit, "" where the whole dataset is one."""
        columns = GROUPS[options["by"]]
        if not columns:
            return np.full(len(self.codes), "", dtype=object)
        return self._described(columns)[columns[0]].to_numpy(object)

    def _fit_plates(self, options):
        """Whitenings of single plates by their own control sites."""
        own = copy.copy(self)
        own.dropped = Dropped()
        fit = Fit(self.features, options)
        fit.add(*own.control_sites(options))
        fitted = fit.result()
        fitted.tell(self.ledger, options, self.dropped, plate=self._plate())
        return fitted

    def _leave_out_unfitted(self, options, fitted):
        """Take out the wells of groups that have too few control sites, and say so."""
        if not GROUPS[options["by"]]:
            return
        present = self.wells.loc[np.unique(self.codes[self.codes >= 0])]
        groups, plates = present[GROUPS[options["by"]][0]].rename("group"), present["Metadata_Plate"].rename("plate")
        for (group, plate), wells in present.groupby([groups, plates]).groups.items():
            if group in fitted.whitenings:
                continue
            self.ledger.add(
                f"{options['by']} {group} has {fitted.found.get(group, 0)} sites with {options['samples']} where step "
                f"tvn needs at least {options['minimum_samples']}; {len(wells)} wells of plate {plate} are left out",
                unit="well",
                count=len(wells),
                plate=plate,
            )
            self._leave_out(wells.to_numpy(), self.rows_of_wells, "tvn", "too few control sites")

    def _leave_out_incomplete(self, values, features):
        """Take out the sites that lack a value which whitening needs, and say so per plate."""
        missing = np.isnan(values) & (self.codes >= 0)[:, None]
        lost = missing.any(axis=1)
        if not lost.any():
            return
        plates = self._described(["Metadata_Plate"])["Metadata_Plate"].to_numpy(object)
        for plate in sorted(set(plates[lost])):
            here = lost & (plates == plate)
            names = [features[place] for place in np.flatnonzero(missing[here].any(axis=0))]
            self.ledger.add(
                f"{int(here.sum())} sites of plate {plate} lack a value that step tvn needs ({names[0]} for one) and "
                "are left out",
                unit="site",
                count=int(here.sum()),
                plate=plate,
            )
            for name, count in zip(features, missing[here].sum(axis=0), strict=True):
                if count:
                    self.dropped.add("value", name, "tvn", "missing; the site is left out", plate, count)
        self.codes = np.where(lost, -1, self.codes)

    def _metadata_names(self):
        return list(dict.fromkeys([*self.wells.columns, *self.metadata.columns]))

    def _described(self, columns):
        """Metadata of every unit: of its well where the well has the column, else its own."""
        frame = {}
        for name in columns:
            if name in self.wells.columns:
                values = self.wells[name].reindex(self.rows_of_wells.index)
                empty = values.dtype.type(np.nan) if values.dtype.kind == "f" else ""
                frame[name] = np.append(values.fillna(empty).to_numpy(), empty)[self.codes]
            else:
                frame[name] = self.metadata[name].to_numpy()
        return pd.DataFrame(frame, index=self.metadata.index)

    def _carry_constant(self, wells):
        """Add the metadata that is the same for all units of a well; say where standard metadata is not."""
        carried = wells.copy()
        usable = self.codes >= 0
        codes = self.codes[usable]
        firsts = np.full(len(wells), -1)
        rows = np.flatnonzero(usable)
        firsts[codes[::-1]] = rows[::-1]
        for name in self.metadata.columns:
            if name in KEYS or name in UNIT_KEYS or name in _COUNTS:
                continue
            values, labels = pd.factorize(self.metadata[name], use_na_sentinel=True)
            differs = np.zeros(len(wells), dtype=bool)
            differs[codes[values[rows] != values[firsts[codes]]]] = True
            if not differs.any():
                carried[name] = self.metadata[name].iloc[firsts].to_numpy()
            elif name in STANDARD:
                bad = wells.index[differs]
                for plate, well in wells.loc[bad, KEYS].itertuples(index=False, name=None):
                    reason = f"the {self.level} of well {well} of plate {plate} have several values of {name}"
                    self.ledger.add(reason, unit="well", plate=plate, well=well)
                self._leave_out(bad.to_numpy(), wells, "annotate", f"several values of {name}")
                carried[name] = self.metadata[name].iloc[firsts].to_numpy()
        return carried.loc[np.unique(self.codes[self.codes >= 0])]

    def _leave_out_features(self, patterns):
        """Forget the features that patterns name; they are counted."""
        gone = [name for name in self.features if any(fnmatchcase(name, pattern) for pattern in patterns)]
        for name in gone:
            self.dropped.add("feature", name, "aggregate", "on the block list")
        if len(gone) == len(self.features):
            raise InputError(f"the blocklist of step aggregate names all {len(gone)} features of {self.path}")
        self.features = [name for name in self.features if name not in set(gone)]

    def _leave_out(self, lost, wells, step, reason):
        """Take wells (by code) out; their disappearance is counted, the sentence is the caller's."""
        for code in lost:
            plate, well = wells.loc[code, KEYS]
            self.dropped.add("well", well, step, reason, plate)
        self.codes = np.where(np.isin(self.codes, lost), -1, self.codes)

    def _cells(self, counts):
        """Cells per well: the rows, or the sum of the sites' own counts; None where sites do not say."""
        if self.level == "cells":
            return counts
        if "Metadata_Count_Cells" not in self.metadata:
            return None
        usable = self.codes >= 0
        own = pd.to_numeric(self.metadata["Metadata_Count_Cells"], errors="coerce").fillna(0).to_numpy()
        return np.bincount(self.codes[usable], weights=own[usable], minlength=len(counts)).astype(np.int64)

    def _sites(self):
        """Distinct sites with units per well; rows of a table of sites."""
        usable = self.codes >= 0
        size = len(self.rows_of_wells)
        if self.level != "cells":
            return np.bincount(self.codes[usable], minlength=size)
        name = next((name for name in ("Metadata_Site", "Metadata_ImageNumber") if name in self.metadata), None)
        if name is None:
            return pd.array([pd.NA] * size, dtype="Int64")
        pairs = pd.DataFrame({"code": self.codes[usable], "site": pd.factorize(self.metadata[name])[0][usable]})
        return np.bincount(pairs.drop_duplicates()["code"], minlength=size)

    def _leave_out_small(self, cells, counts, minimum):
        """Wells with no unit left, or with fewer cells than asked for, go to the ledger."""
        held = self.wells.index.to_numpy()
        empty = held[counts[held] == 0]
        small = np.array([], dtype=int) if cells is None else held[(counts[held] > 0) & (cells[held] < minimum)]
        lost_before = {(row["name"], row["plate"]) for row in self.dropped.rows if row["kind"] == "well"}
        for code in empty:
            plate, well = self.rows_of_wells.loc[code, KEYS]
            if (well, plate) not in lost_before:
                reason = f"no {self.level} of well {well} of plate {plate} are left after the filters"
                self.ledger.add(reason, unit="well", plate=plate, well=well)
                self.dropped.add("well", well, "aggregate", f"no {self.level} left", plate)
        for code in small:
            plate, well = self.rows_of_wells.loc[code, KEYS]
            reason = f"well {well} of plate {plate} has {cells[code]} cells, fewer than the {minimum} of minimum_cells"
            self.ledger.add(reason, unit="well", plate=plate, well=well)
        self._leave_out(small, self.rows_of_wells, "aggregate", f"fewer than {minimum} cells")

    def _leave_out_few(self, fewest):
        """Wells with too few units left for a statistic go to the ledger."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.rows_of_wells))
        few = np.flatnonzero((counts > 0) & (counts < fewest))
        for code in few:
            plate, well = self.rows_of_wells.loc[code, KEYS]
            reason = (
                f"well {well} of plate {plate} has {counts[code]} {self.level}, fewer than the {fewest} that its "
                "dispersion or covariances need"
            )
            self.ledger.add(reason, unit="well", plate=plate, well=well)
        self._leave_out(few, self.rows_of_wells, "aggregate", f"fewer than {fewest} {self.level}")

    def _order(self):
        """(rows sorted by well and unit, codes of the wells that have rows, start of each well's rows plus the end)."""
        rows = np.flatnonzero(self.codes >= 0)
        keys = [self.metadata[name].to_numpy()[rows] for name in reversed(UNIT_KEYS) if name in self.metadata]
        keys = [key if key.dtype.kind in "iuf" else pd.factorize(key, sort=True)[0] for key in keys]
        order = rows[np.lexsort([*keys, self.codes[rows]])]
        kept, starts = np.unique(self.codes[order], return_index=True)
        return order, kept, np.append(starts, len(order))

    def _block_width(self):
        share = 4 if self.scalings else 1
        return int(np.clip(self.block_bytes // (4 * share * max(1, len(self.codes))), 1, 256))

    def _block(self, names, rows=None, infinite=None):
        """Values (features, rows) of some columns after the normalisations so far; infinite ones are missing.

        float32 as stored where nothing was normalised, else float64. infinite: integer array to count into.
        """
        table = self._read(list(names))
        wide = bool(self.scalings) or any(table.schema.field(name).type != pa.float32() for name in names)
        whole = np.arange(len(self.codes)) if rows is None else rows
        in_order = len(whole) == len(self.codes) and bool((np.diff(whole) == 1).all())
        block = np.empty(
            (len(names), len(self.codes) if self.scalings else len(whole)), np.float64 if wide else np.float32
        )
        counted = np.zeros(len(self.codes), dtype=bool)
        counted[whole] = True
        for number, name in enumerate(names):
            values = table.column(name).to_numpy()
            if values.dtype.kind == "f" and np.isinf(values).any():
                beyond = np.isinf(values)
                if infinite is not None:
                    infinite[number] = int((beyond & counted).sum())
                values = np.where(beyond, np.nan, values)
            block[number] = values if self.scalings or in_order else values[whole]
        for options, reference, groups in self.scalings:
            block = scale_block(block, reference, groups, options)
        return block[:, whole] if self.scalings and not in_order else block

    def _plate(self):
        plates = self.wells["Metadata_Plate"].unique()
        return plates[0] if len(plates) == 1 else ""


def aggregate_segments(block, starts, operation):
    """A statistic of consecutive segments of columns, missing values skipped, NaN where nothing is left.

    operation: median, mean, std (n - 1; NaN where one value is left) or mad (1.4826 x median absolute deviation).

    block: (features, n) float32 or float64. starts: (segments + 1,) increasing positions, the last is n.
    Returns (features, segments) float64: what pandas' groupby gives on the same values as float64.
    """
    reduce = {"median": _median, "mean": _mean, "std": _std, "mad": _mad}[operation]
    result = np.full((len(block), len(starts) - 1), np.nan)
    for segment in range(len(starts) - 1):
        result[:, segment] = reduce(block[:, starts[segment] : starts[segment + 1]])
    return result


def _median(values):
    """Median per row of (features, n), n > 0."""
    n = values.shape[1]
    # one pivot is several times faster than two: the other middle value is the largest to its left
    ordered = np.partition(values, n // 2, axis=1)
    result = ordered[:, n // 2].astype(np.float64)
    if n % 2 == 0:
        result = (ordered[:, : n // 2].max(axis=1) + result) / 2
    incomplete = np.flatnonzero(np.isnan(values.min(axis=1)))
    if len(incomplete):
        ordered = np.sort(values[incomplete], axis=1)  # NaN last
        present = n - np.isnan(ordered).sum(axis=1)
        rows = np.arange(len(incomplete))
        middle = [ordered[rows, place].astype(np.float64) for place in ((present - 1) // 2, present // 2)]
        result[incomplete] = np.where(present > 0, (middle[0] + middle[1]) / 2, np.nan)
    return result


def _mean(values):
    """Mean per row of (features, n), n > 0, summed in float64."""
    sums = values.sum(axis=1, dtype=np.float64)
    result = sums / values.shape[1]
    incomplete = np.flatnonzero(np.isnan(sums))
    if len(incomplete):
        missing = np.isnan(values[incomplete])
        present = values.shape[1] - missing.sum(axis=1)
        sums = np.where(missing, 0, values[incomplete]).sum(axis=1, dtype=np.float64)
        result[incomplete] = np.where(present > 0, sums / np.maximum(present, 1), np.nan)
    return result


def _std(values):
    """Standard deviation per row of (features, n), n > 0, in float64."""
    squares = (values - _mean(values)[:, None]) ** 2
    present = squares.shape[1] - np.isnan(squares).sum(axis=1)
    return np.sqrt(np.where(present > 1, _mean(squares) * present / np.maximum(present - 1, 1), np.nan))


def _mad(values):
    """Median absolute deviation per row of (features, n), n > 0, scaled to the standard deviation of a normal one."""
    return 1.4826 * _median(np.abs(values - _median(values)[:, None]))


def _open(path):
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as a Parquet table: {error}") from error


def _read_metadata(file, names):
    """Metadata columns of all rows; text stays dictionary-encoded (categorical)."""
    table = file.read(columns=names)
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(number, field.name, table.column(number).dictionary_encode())
    return table.to_pandas()


def _wells_of(metadata, level, ledger):
    """(code of each row's well or -1, wells): wells has one row per plate and well, sorted; its index is the code."""
    plate_codes, plates = _renamed(metadata["Metadata_Plate"], lambda name: name or None)
    well_codes, wells = _renamed(metadata["Metadata_Well"], canonical_well)
    placed = (plate_codes >= 0) & (well_codes >= 0)
    if not placed.all():
        unnamed = metadata.loc[~placed, KEYS].astype(str).drop_duplicates().head(3).agg(" / ".join, axis=1)
        reason = f"{level} without plate or without a well name such as A01 ({', '.join(unnamed)}) are left out"
        ledger.add(reason, unit=level.removesuffix("s"), count=int((~placed).sum()))
    pairs = np.where(placed, plate_codes * max(1, len(wells)) + well_codes, -1)
    present = np.unique(pairs[placed])
    codes = np.where(placed, np.searchsorted(present, pairs), -1)
    names = {
        "Metadata_Plate": [plates[pair // len(wells)] for pair in present],
        "Metadata_Well": [wells[pair % len(wells)] for pair in present],
    }
    return codes, pd.DataFrame(names, dtype=object)


def _renamed(values, rename):
    """(codes, names): each value's place in the sorted new names, -1 where `rename` gives None."""
    codes, found = pd.factorize(values)
    named = [rename(text) for text in as_text(pd.Series(found))]
    names = sorted({name for name in named if name is not None})
    places = np.array([names.index(name) if name is not None else -1 for name in named] + [-1], dtype=np.int64)
    return places[codes], names
