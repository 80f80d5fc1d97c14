"""From the three channels of an RGB network to those of a microscope."""

from phenoloom.core.errors import InputError

#: Mean and standard deviation of ImageNet's red, green and blue, of values from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Normalisations that give values from 0 to 1, as ImageNet's statistics expect.
UNIT_RANGE = ("percentile", "range")


def adapt_filters(filters, n_channels, how):
    """First filters (D, n_channels, h, w) of a network, made from those (D, 3, h, w) of an RGB one.

    how: `average`, the mean over RGB for each channel, times 3 / n_channels, so that grey repeated over the channels
    gives what grey repeated to RGB gave (averaged as by scDINO, Pfaendler et al. 2023); `sum`, for
    one channel, the sum over RGB, which is the same. Raises InputError for `sum` and several channels.
    """
    if how == "average":
        mean = filters.mean(dim=1, keepdim=True) * (3 / n_channels)
        return mean.repeat(1, n_channels, 1, 1)
    if how == "sum":
        if n_channels != 1:
            raise InputError(
                f"adapt: sum gives a network of one channel, and there are {n_channels}; "
                "take average or rgb, or set per_channel"
            )
        return filters.sum(dim=1, keepdim=True)
    raise InputError(f"there is no adapt {how!r}; choose average, sum or rgb")


def imagenet_statistics(normalize, input, n_channels):
    """(mean, std) that an ImageNet network expects of values from 0 to 1, one each per input of the network.

    For `multi` inputs each channel has the average of the three. (None, None) for values that are normalised otherwise.
    """
    if normalize not in UNIT_RANGE:
        return None, None
    if input == "rgb":
        return list(IMAGENET_MEAN), list(IMAGENET_STD)
    return [sum(IMAGENET_MEAN) / 3] * n_channels, [sum(IMAGENET_STD) / 3] * n_channels
