"""Counts of a dataset of single cells: events found, lost and kept of each sample, and cells of each label."""

import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.ledger import read_ledgers
from phenoloom.core.tables import METADATA
from phenoloom.core.words import count
from phenoloom.profiles.annotation import as_text
from phenoloom.report.page import percent
from phenoloom.report.style import natural

#: Columns of the tables of samples, of labels and of what was lost.
SAMPLES = ["Metadata_Dataset", "Metadata_Batch", "Metadata_Sample", "Found", "Lost", "Kept", "Unchecked", "Odd"]
LABELS = ["Metadata_Dataset", "Metadata_Sample", "Label", "Cells"]
LOST = ["Metadata_Dataset", "Metadata_Sample", "unit", "severity", "reason", "count"]


def count_samples(cells, ledgers, label):
    """(samples, labels, lost): DataFrames with the columns SAMPLES, LABELS and LOST.

    cells: tables of cells (or events), one per sample or one of several datasets. ledgers: {sample: paths of its
    ledgers}, {} for what was put together from other datasets: what it lost is theirs to tell. label: metadata column.
    Found are the events that were kept or lost, without fillers of montages; Odd the number of deviations noted of
    files; Unchecked why the join of images and events is not known to be right, "" where it is or where there is
    nothing to join.
    """
    frames = [_metadata(path, label) for path in cells]
    found = (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=["Dataset", "Sample", "Batch", "Label"])
    )
    samples, lost = [], []
    for (dataset, sample), own in found.groupby(["Dataset", "Sample"], sort=False):
        ledger = read_ledgers(ledgers.get(sample, []))
        gone = ledger[(ledger["severity"] == "lost") & (ledger["unit"] == "event")]["count"].sum()
        flagged = ledger[ledger["severity"] == "flagged"]
        known = {"Found": len(own) + int(gone), "Lost": int(gone)} if ledgers else {"Found": None, "Lost": None}
        samples.append(
            {
                "Metadata_Dataset": dataset,
                "Metadata_Batch": own["Batch"].iloc[0],
                "Metadata_Sample": sample,
                **known,
                "Kept": len(own),
                "Unchecked": "; ".join(flagged.loc[flagged["unit"] == "plate", "reason"]),
                "Odd": int((flagged["unit"] == "file").sum()),
            }
        )
        lost.append(ledger.assign(Metadata_Dataset=dataset, Metadata_Sample=sample)[LOST])
    samples = pd.DataFrame(samples, columns=SAMPLES).astype({"Found": "Int64", "Lost": "Int64", "Kept": "int64"})
    labels = found.groupby(["Dataset", "Sample", "Label"], sort=False).size().reset_index(name="Cells")
    labels = labels[labels["Label"] != ""].set_axis(LABELS, axis=1)
    lost = pd.concat(lost, ignore_index=True) if lost else pd.DataFrame(columns=LOST)
    return samples, labels.reset_index(drop=True), lost


def _metadata(path, label):
    """Dataset, Sample, Batch and Label of each row of a table, as text."""
    wanted = {name: METADATA + name for name in ("Dataset", "Sample", "Batch")}
    wanted["Label"] = METADATA + label.removeprefix(METADATA)
    names = pq.read_schema(path).names
    table = pq.read_table(path, columns=[name for name in wanted.values() if name in names]).to_pandas()
    empty = pd.Series("", index=range(pq.read_metadata(path).num_rows), dtype=object)
    return pd.DataFrame({name: as_text(table[column]) if column in table else empty for name, column in wanted.items()})


def label_rows(labels):
    """(label, cells) of a dataset's table of labels, in natural order."""
    sums = labels.groupby("Label")["Cells"].sum()
    return [(name, int(sums[name])) for name in sorted(sums.index, key=natural)]


def reason_rows(lost):
    """Rows of what was lost or odd, by unit, severity and kind of reason: the most frequent first.

    Dicts with severity, unit, reason (the first of its kind), others, count, samples.
    """
    from phenoloom.report.contents import reason_kind

    if lost.empty:
        return []
    rows = []
    kinds = [reason_kind(reason) for reason in lost["reason"]]
    for (severity, unit, _), part in lost.groupby(["severity", "unit", pd.Series(kinds, lost.index)], sort=False):
        reasons = list(dict.fromkeys(part["reason"]))
        rows.append(
            {
                "severity": severity,
                "unit": unit,
                "reason": reasons[0],
                "others": len(reasons) - 1,
                "count": int(part["count"].fillna(1).sum()),
                "samples": list(dict.fromkeys(part["Metadata_Sample"])),
            }
        )
    return sorted(rows, key=lambda row: (row["severity"] != "lost", -row["count"]))


def sample_warnings(dataset, samples, labels, coverage):
    """What a reader should know before trusting a dataset of cells: list of (severity, sentence), serious ones first.

    coverage: the share of a sample's events below which it counts as failed.
    """
    if samples.empty:
        return [("serious", f"{dataset}: it has no cells.")]
    found = []

    def say(severity, chosen, sentence):
        names = list(samples.loc[chosen, "Metadata_Sample"])
        if names:
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            found.append((severity, f"{dataset}: {count(len(names), 'sample')} {sentence} ({listed})."))

    known = samples["Found"].notna()
    share = (samples["Kept"] / samples["Found"].astype(float)).where(known)
    say("caution", share < coverage, f"of which less than {percent(coverage)} of the events were kept")
    say("caution", samples["Unchecked"] != "", "whose images are not known to be those of their events")
    say("note", samples["Odd"] > 0, "with FCS files that deviate from the standard")
    sums = dict(label_rows(labels))
    if not sums:
        found.append(("note", f"{dataset}: no cell has a label, so that nothing is learned of or scored by labels."))
    rare = [name for name, cells in sums.items() if cells < 30]
    if rare:
        listed = ", ".join(f"{name} {sums[name]}" for name in rare[:5]) + (" and others" if len(rare) > 5 else "")
        found.append(("caution", f"{dataset}: {count(len(rare), 'label')} with fewer than 30 cells ({listed})."))
    order = {"serious": 0, "caution": 1, "note": 2}
    return sorted(found, key=lambda row: order[row[0]])
