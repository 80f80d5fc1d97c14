"""Wells of a plate by a learned aggregation: one profile of each."""

import numpy as np
import pandas as pd

from phenoloom.cell_sets.learning import profiles
from phenoloom.cell_sets.train import KEYS
from phenoloom.core.errors import InputError

#: Features of a learned profile, by number.
FEATURE = "DeepSets_{:04d}"


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
