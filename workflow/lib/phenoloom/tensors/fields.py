"""Fields of a plate: every usable site, corrected and resized, one item each."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.illumination.averaging import majority_format
from phenoloom.tensors.sites import PLACE, read_sites, whereabouts
from phenoloom.tensors.store import TensorWriter


def write_fields(paths, index, channels, options, ledger, illumination=(), threads=1, origin=None):
    """Write the tensor of a plate's fields: (array, table of items).

    index: DataFrame of the plate's image index. channels: names, in order. options: of the tensor (size, dtype,
    interpolation, cut_off, percentiles). illumination: paths of functions `{channel}.npy`, none for no correction.
    One site is in memory. What cannot be used goes to the ledger (see sites.read_sites), as does the plate when nothing
    is left; its tensor then has no items. Raises InputError when the index is empty.
    """
    index = index[index["channel"].isin(list(channels))]
    if index.empty:
        raise InputError(f"the index has no image of {', '.join(channels)}; check the study's channel names")
    wanted = options["size"]
    size = tuple(wanted or majority_format(list(index.itertuples(index=False)))[0])
    interpolation, cut_off = options["interpolation"], options["cut_off"]
    sites = read_sites(index, channels, ledger, illumination, cut_off, wanted, interpolation, threads)
    with TensorWriter(paths[0], channels, size, options["dtype"], paths[1], options["percentiles"], origin) as tensor:
        for place, images in sites:
            if reason := _unusable(images, size):
                ledger.add(reason, unit="site", **whereabouts(place))
            else:
                tensor.append(images[None], pd.DataFrame([place]))
        if not len(tensor):
            tensor.append(np.empty((0, len(channels), *size)), pd.DataFrame(columns=PLACE).astype({PLACE[-1]: "int64"}))
            first = index.iloc[0]
            ledger.add(
                "no site of this plate can be used", unit="plate", dataset=first["dataset"], plate=first["plate"]
            )


def _unusable(images, size):
    """Why a corrected site (C, H, W) is no item, "" where it is one."""
    height, width = images.shape[1:]
    if (height, width) != size:
        return f"the site has {width}x{height} pixels where most of the plate has {size[1]}x{size[0]}; give a size"
    if (np.ptp(images, axis=(1, 2)) == 0).any():
        return "no pixel of a channel is below the cut-off"
    return ""
