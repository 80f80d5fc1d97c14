"""Wells of a plate by a learned aggregation: one profile of each."""

import numpy as np
import pandas as pd
import torch

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns, read_table

#: What names a well.
KEYS = ["Metadata_Plate", "Metadata_Well"]
#: Features of a learned profile, by number.
FEATURE = "DeepSets_{:04d}"


@torch.no_grad()
def profiles(network, cells, wells):
    """Profiles (n, dim) float32 of wells, a well's cells in memory at a time."""
    network, device = network.eval(), next(network.parameters()).device
    found = np.zeros((len(wells), network.dim), np.float32)
    for row, well in enumerate(wells):
        values = torch.from_numpy(cells.read(well)).to(device)
        found[row] = network.of_wells(values, torch.tensor([len(values)], device=device))[0].cpu().numpy()
    network.train()
    return found


def wells_of_plate(network, cells, sides):
    """One row per well: its metadata, who taught (sides: the table that train writes), and its profile as float64.

    cells: store.Cells of the plate. Raises InputError when the network is one of other features.
    """
    if cells.features != network.n_features:
        raise InputError(
            f"the learned aggregation takes {network.n_features:,} features and the cells have {cells.features:,}; "
            "train it again"
        )
    values = profiles(network, cells, np.arange(len(cells.wells))).astype(np.float64)
    names = [FEATURE.format(number + 1) for number in range(network.dim)]
    metadata = cells.wells.merge(sides, on=KEYS, how="left", validate="one_to_one")
    return pd.concat([metadata, pd.DataFrame(values, columns=names)], axis=1)


def read_wells(paths):
    """(metadata DataFrame, profiles (W, dim) float32) of the wells of all plates, from tables of wells_of_plate."""
    frames = [read_table(path) for path in paths]
    values = [frame[feature_columns(frame)].to_numpy(np.float32) for frame in frames]
    metadata = pd.concat([frame[metadata_columns(frame)] for frame in frames], ignore_index=True)
    return metadata, np.concatenate(values)
