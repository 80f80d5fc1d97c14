"""Agreement of image features with those that an image-enabled sorter computed itself and wrote into its FCS file."""

import numpy as np
import pandas as pd

#: Parameter of a BD CellView sorter's FCS file -> our feature of the same channel.
SAME = {
    "Size": "Cells_AreaShape_Area",
    "MaxIntensity": "Cells_Intensity_MaxIntensity",
    "Radial Moment": "Cells_RadialMoment_RadialMoment",
    "Eccentricity": "Cells_RadialMoment_Eccentricity",
}


def against_instrument(features, events, names):
    """DataFrame of parameter, feature, r (Pearson), rho (Spearman), n: ours against the instrument's, per channel.

    features: DataFrame of columns as `feature_names`; events: DataFrame of FCS parameters, row by row the same events.
    names: {our channel: the instrument's name of it}; its parameters read `Size (name)`, or `Size 5` for a number. Only
    parameters that exist and vary are compared, over rows where both are finite. The sorter's fixed-point Radial Moment
    is 0 or negative where the image sums to little: such rows are left out of that parameter.
    """
    rows = []
    for channel, name in names.items():
        for quantity, feature in SAME.items():
            parameter = f"{quantity} {name}" if str(name).isdigit() else f"{quantity} ({name})"
            column = f"{feature}_{channel}"
            if parameter not in events or column not in features:
                continue
            ours, theirs = features[column].to_numpy(float), events[parameter].to_numpy(float)
            usable = np.isfinite(ours) & np.isfinite(theirs)
            if quantity == "Radial Moment":
                usable &= theirs > 0
            ours, theirs = pd.Series(ours[usable]), pd.Series(theirs[usable])
            if len(ours) > 2 and ours.nunique() > 1 and theirs.nunique() > 1:
                rows.append((parameter, column, ours.corr(theirs), ours.rank().corr(theirs.rank()), len(ours)))
    return pd.DataFrame(rows, columns=["parameter", "feature", "r", "rho", "n"])
