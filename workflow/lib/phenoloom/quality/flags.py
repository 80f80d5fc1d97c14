"""Flags of images by fixed limits and by robust z-scores within plate and channel, and what they mean for sites."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.quality.measures import CONSTANT, MEASURES, NOT_FINITE, PREFIX, UNREADABLE

#: Between the flags of one image or site.
SEPARATOR = ";"

#: An image of these flags cannot be used, whatever the config says.
UNUSABLE = (UNREADABLE, NOT_FINITE)

MISSING = "missing"


def robust_z(values, minimum=8):
    """(value - median) / (1.4826 median absolute deviation) of the finite values; NaN where a value is not finite.

    Where the median absolute deviation is 0 (more than half are equal), 1.2533 times the mean absolute deviation
    stands for it (Iglewicz and Hoaglin 1993); where that is 0 too, all scores are 0. With fewer than `minimum`
    finite values nothing can be said and all scores are NaN.
    """
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if finite.size < max(minimum, 1):
        return np.full(values.shape, np.nan)
    middle = np.median(finite)
    distances = np.abs(finite - middle)
    spread = 1.4826 * np.median(distances) or 1.2533 * distances.mean()
    scores = (values - middle) / spread if spread else np.where(np.isfinite(values), 0.0, np.nan)
    return np.where(np.isfinite(values), scores, np.nan)


def flag_images(frame, flags, ledger, minimum_images=8):
    """`frame` of measure_plate with the configured flags added to Metadata_Flags (new DataFrame).

    flags: name -> {measure, below, above, z_below, z_above, channels, share_of_channels}; each limit may be None; an
    image is flagged when it passes any of them, strictly, and at least `share_of_channels` of the site's images of
    `channels` (all when None) do. z-scores are taken within plate and channel over at least `minimum_images` images.
    Each flagged image has a ledger row (`flagged`) with the value and the limit that it passed.
    """
    frame = frame.reset_index(drop=True)
    found = [[text] if text else [] for text in frame["Metadata_Flags"]]
    for number in np.flatnonzero(frame["Metadata_Flags"] == CONSTANT):
        _record(ledger, frame.iloc[number], f"{CONSTANT}: all pixels have one value")
    for name, rule in flags.items():
        if rule["measure"] not in MEASURES:
            raise InputError(f"flag {name!r} uses {rule['measure']!r}; the measures are {', '.join(MEASURES)}")
        concerned = frame["Metadata_Channel"].isin(rule.get("channels") or frame["Metadata_Channel"].unique())
        values = frame[PREFIX + rule["measure"]].astype(float)
        groups = values.groupby([frame["Metadata_Plate"], frame["Metadata_Channel"]], sort=False)
        scores = groups.transform(lambda group: robust_z(group.to_numpy(), minimum_images))
        reasons = {
            number: reason
            for number, reason in _passed(values.to_numpy(), scores.to_numpy(), rule)
            if concerned[number]
        }
        for number in _agreed(frame, concerned, reasons, rule.get("share_of_channels") or 0):
            found[number].append(name)
            _record(ledger, frame.iloc[number], f"{name}: {rule['measure']} {reasons[number]}")
    return frame.assign(Metadata_Flags=[SEPARATOR.join(names) for names in found])


def _agreed(frame, concerned, numbers, share):
    """Those of the row `numbers` whose site has at least `share` of its `concerned` images among them."""
    passed = pd.Series(frame.index.isin(list(numbers)), frame.index)
    sites = [frame["Metadata_Plate"], frame["Metadata_Well"], frame["Metadata_Site"]]
    shares = passed.where(concerned).astype(float).groupby(sites).transform("mean")
    return [number for number in numbers if shares[number] >= share]


def _passed(values, scores, rule):
    """(position, reason in words) of each image that passes a limit of `rule`; the first limit passed is named."""
    seen = set()
    limits = (
        ("below", values, np.less, "{value:.4g} is below {limit:g}"),
        ("above", values, np.greater, "{value:.4g} is above {limit:g}"),
        ("z_below", scores, np.less, "{value:.4g} is {score:.1f} robust deviations from the median, below {limit:g}"),
        (
            "z_above",
            scores,
            np.greater,
            "{value:.4g} is {score:.1f} robust deviations from the median, above {limit:g}",
        ),
    )
    for key, compared, passes, words in limits:
        limit = rule.get(key)
        if limit is None:
            continue
        for number in np.flatnonzero(passes(compared, limit)):  # NaN passes nothing
            if number not in seen:
                seen.add(number)
                yield number, words.format(value=values[number], score=scores[number], limit=limit)


def _record(ledger, row, reason):
    ledger.add(
        reason,
        severity="flagged",
        plate=row["Metadata_Plate"],
        well=row["Metadata_Well"],
        site=row["Metadata_Site"],
        channel=row["Metadata_Channel"],
    )


def summarize_sites(frame, ledger, exclude="none"):
    """One row per site: Metadata_Plate, Metadata_Well, Metadata_Site, Metadata_Flags, Metadata_Excluded.

    Flags are written `channel:flag`; a channel that other sites of the plate have is `channel:missing`. exclude:
    "flagged" leaves out every site with a flag, "none" keeps them; sites with an unusable image are always left out.
    Each site left out has a ledger row (`lost`).
    """
    if exclude not in ("flagged", "none"):
        raise InputError(f"quality: exclude is flagged or none, not {exclude!r}")
    rows = []
    for plate, images in frame.groupby("Metadata_Plate", sort=False):
        channels = list(dict.fromkeys(images["Metadata_Channel"]))
        for (well, site), group in images.groupby(["Metadata_Well", "Metadata_Site"], sort=True):
            flags, unusable = [], False
            for channel, text in zip(group["Metadata_Channel"], group["Metadata_Flags"], strict=True):
                names = text.split(SEPARATOR) if text else []
                flags += [f"{channel}:{name}" for name in names]
                unusable |= any(name in UNUSABLE for name in names)
            for channel in (name for name in channels if name not in set(group["Metadata_Channel"])):
                flags.append(f"{channel}:{MISSING}")
                where = {"plate": plate, "well": well, "site": site, "channel": channel}
                ledger.add(f"{MISSING}: no image of channel {channel}", severity="flagged", **where)
            excluded = unusable or (exclude == "flagged" and bool(flags))
            text = SEPARATOR.join(flags)
            if excluded:
                ledger.add(f"site left out: {text}", unit="site", plate=plate, well=well, site=site)
            rows.append((plate, well, site, text, excluded))
    columns = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Flags", "Metadata_Excluded"]
    return pd.DataFrame(rows, columns=columns).astype({"Metadata_Site": np.int32, "Metadata_Excluded": bool})
