"""Classical features of single cells: each against scikit-image, SciPy or the definition, cell by cell."""

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.feature import graycomatrix, graycoprops
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import opening

from phenoloom.core.errors import InputError
from phenoloom.crops import FeatureOptions, feature_names, features, iterate_features, sample_thresholds
from phenoloom.crops.classical import GROUPS

CHANNELS = ["DNA", "Tubulin", "BF"]
OPTIONS = {"levels": 8, "distances": (1, 3), "scales": 4}


def cells(events=6, channels=3, shape=(40, 33), seed=0):
    """(events, channels, H, W) float32: lopsided blobs of several sizes on noise, one of them at the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle = rng.uniform(8, 25, (2, events, channels, 1, 1))
    width = rng.uniform(2, 6, (2, events, channels, 1, 1))
    middle[:, 0] = 2
    blob = 900 * np.exp(-(((y - middle[0]) / width[0]) ** 2 + ((x - middle[1]) / width[1]) ** 2 + y * x / 900) / 2)
    noise = rng.normal(0, 20, blob.shape)
    return (blob * rng.uniform(0.6, 1.4, blob.shape) + noise).astype(np.float32)


def table(stack, channels=CHANNELS, options=OPTIONS, **more):
    found = features(stack, channels, options, **more)
    return dict(zip(feature_names(channels, options), found.T, strict=True))


@pytest.fixture(scope="module")
def stack():
    return cells()


@pytest.fixture(scope="module")
def found(stack):
    return table(stack)


def each(stack, found, channel="DNA"):
    """(image, mask by scikit-image's Otsu, function that gives the event's feature by name) of every event."""
    number = CHANNELS.index(channel)
    for event, image in enumerate(stack[:, number]):
        mask = image > threshold_otsu(image)
        yield image.astype(float), mask, lambda name, event=event: found[f"Cells_{name}_{channel}"][event]


def close(expected, rel=2e-4, absolute=1e-5):
    return pytest.approx(expected, rel=rel, abs=absolute, nan_ok=True)


def test_columns_are_named_and_ordered_as_feature_names_says(stack):
    names = feature_names(CHANNELS, OPTIONS)
    assert len(names) == len(set(names)) == features(stack, CHANNELS, OPTIONS).shape[1]
    assert features(stack, CHANNELS, OPTIONS).dtype == np.float32
    assert {
        "Cells_Intensity_MaxIntensity_DNA",
        "Cells_AreaShape_Area_BF",
        "Cells_RadialMoment_RadialMoment_DNA",
        "Cells_RadialMoment_Eccentricity_DNA",
        "Cells_Correlation_Correlation_DNA_Tubulin",
        "Cells_Texture_Contrast_3_DNA",
        "Cells_Granularity_1_DNA",
        "Cells_Location_Delta_DNA_BF",
    } <= set(names)


def test_shape_is_that_of_scikit_image(stack, found):
    for _, mask, ours in each(stack, found):
        region = regionprops(mask.astype(int))[0]
        assert ours("AreaShape_Area") == region.area
        assert ours("AreaShape_Perimeter") == close(region.perimeter)
        assert ours("AreaShape_MajorAxisLength") == close(region.axis_major_length)
        assert ours("AreaShape_MinorAxisLength") == close(region.axis_minor_length)
        assert ours("AreaShape_Eccentricity") == close(region.eccentricity)
        assert ours("AreaShape_EquivalentDiameter") == close(region.equivalent_diameter_area)
        assert ours("AreaShape_Extent") == close(region.extent)
        assert ours("AreaShape_EulerNumber") == region.euler_number
        assert ours("AreaShape_FormFactor") == close(4 * np.pi * region.area / region.perimeter**2)
        assert [ours(f"AreaShape_HuMoment_{k}") for k in range(7)] == close(region.moments_hu, rel=1e-3, absolute=1e-7)


def test_intensity_is_that_of_numpy_and_scipy(stack, found):
    for image, mask, ours in each(stack, found, "Tubulin"):
        values = image[mask]
        assert ours("Intensity_IntegratedIntensity") == close(values.sum())
        assert ours("Intensity_MeanIntensity") == close(values.mean())
        assert ours("Intensity_StdIntensity") == close(values.std())
        assert ours("Intensity_MinIntensity") == close(values.min())
        assert ours("Intensity_MaxIntensity") == close(image.max())
        for percent in (5, 25, 50, 75, 95):
            assert ours(f"Intensity_Percentile{percent:02d}") == close(np.percentile(values, percent))
        assert ours("Intensity_MADIntensity") == close(stats.median_abs_deviation(values))
        assert ours("Intensity_Skewness") == close(stats.skew(values))
        assert ours("Intensity_Kurtosis") == close(stats.kurtosis(values), absolute=1e-4)


def test_moments_of_the_signal_are_those_of_scikit_image(stack, found):
    for image, mask, ours in each(stack, found):
        region = regionprops(mask.astype(int), image * mask / image[mask].mean())[0]
        row, column = region.centroid_weighted
        assert ours("Location_CenterMassIntensity_Y") == close(row)
        assert ours("Location_CenterMassIntensity_X") == close(column)
        assert ours("Intensity_MassDisplacement") == close(np.hypot(*np.subtract(region.centroid, (row, column))))
        y, x = np.indices(image.shape)
        weight = np.where(mask, image, 0)
        covariance = np.cov(np.stack([y.ravel(), x.ravel()]), aweights=weight.ravel(), bias=True)
        minor, major = np.linalg.eigvalsh(covariance)
        assert ours("RadialMoment_RadialMoment") == close(major + minor)
        assert ours("RadialMoment_Eccentricity") == close(1 - minor / major)
        expected = region.moments_weighted_hu
        assert [ours(f"RadialMoment_HuMoment_{k}") for k in range(7)] == close(expected, rel=1e-3, absolute=1e-7)


def grey(image, mask, levels):
    """Grey levels from 1 inside the mask, 0 outside."""
    low, high = np.float32(image[mask].min()), np.float32(image[mask].max())
    return np.where(mask, np.clip((image - low) * levels / (high - low), 0, levels - 1).astype(int) + 1, 0)


@pytest.mark.parametrize("distance", [1, 3])
def test_texture_is_that_of_scikit_image(stack, found, distance):
    names = {
        "AngularSecondMoment": "ASM",
        "Contrast": "contrast",
        "Correlation": "correlation",
        "Entropy": "entropy",
        "InverseDifferenceMoment": "homogeneity",
        "Variance": "variance",
    }
    for image, mask, ours in each(stack, found):
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        # scikit-image rounds diagonal steps: 3 pixels at 45 degrees are (2, 2); ours are (3, 3), given as distance
        matrices = []
        for angle in angles:
            steps = distance * (np.sqrt(2) if angle in angles[1::2] else 1)
            counts = graycomatrix(grey(image, mask, 8).astype(np.uint8), [steps], [angle], 9, symmetric=True)
            matrices.append(counts[1:, 1:, 0, 0])
        counts = np.stack(matrices, axis=-1)[:, :, None].astype(float)
        for name, theirs in names.items():
            expected = graycoprops(counts.astype(np.uint32), theirs).mean()
            assert ours(f"Texture_{name}_{distance}") == close(expected), name


def test_haralicks_other_features_follow_their_definitions(stack, found):
    for image, mask, ours in each(stack, found):
        levels = grey(image, mask, 8)
        measures = []
        for dy, dx in ((0, 1), (-1, 1), (-1, 0), (-1, -1)):
            counts = np.zeros((8, 8))
            for y, x in np.argwhere(mask):
                v, u = y + dy, x + dx
                if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1] and mask[v, u]:
                    counts[levels[y, x] - 1, levels[v, u] - 1] += 1
                    counts[levels[v, u] - 1, levels[y, x] - 1] += 1
            p = counts / counts.sum()
            i, j = np.indices(p.shape)
            plus = np.bincount((i + j).ravel(), p.ravel())
            minus = np.bincount(abs(i - j).ravel(), p.ravel())
            margin, k = p.sum(axis=0), np.arange(15)
            joint = stats.entropy(p.ravel())
            independent = np.outer(margin, margin)
            cross = -(p[p > 0] * np.log(independent[p > 0])).sum()
            measures.append(
                {
                    "SumAverage": plus @ k,
                    "SumVariance": plus @ (k - plus @ k) ** 2,
                    "SumEntropy": stats.entropy(plus),
                    "DifferenceVariance": minus @ (k[:8] - minus @ k[:8]) ** 2,
                    "DifferenceEntropy": stats.entropy(minus),
                    "InfoMeas1": (joint - cross) / stats.entropy(margin),
                    "InfoMeas2": np.sqrt(1 - np.exp(-2 * (stats.entropy(independent.ravel()) - joint))),
                }
            )
        for name in measures[0]:
            assert ours(f"Texture_{name}_1") == close(np.mean([one[name] for one in measures])), name


def test_granularity_is_what_openings_of_scikit_image_lose(stack, found):
    for image, mask, ours in each(stack, found):
        signal = np.pad(np.where(mask, image, 0), 10)
        sums = [signal.sum(), *(opening(signal, np.ones((2 * k + 1,) * 2)).sum() for k in range(1, 5))]
        expected = -100 * np.diff(sums) / sums[0]
        assert [ours(f"Granularity_{k}") for k in range(1, 5)] == close(expected)


def test_gradients_are_those_of_scipy(stack, found):
    for image, mask, ours in each(stack, found):
        length = np.hypot(*(ndimage.correlate1d(image, [-0.5, 0, 0.5], axis, mode="nearest") for axis in (0, 1)))[mask]
        assert ours("Gradient_MeanMagnitude") == close(length.mean())
        assert ours("Gradient_StdMagnitude") == close(length.std())
        assert ours("Gradient_Sharpness") == close(np.square(length).sum() / np.square(image[mask]).sum())
        assert ours("Gradient_LaplaceVariance") == close(ndimage.laplace(image, mode="nearest")[mask].var())


def test_correlations_are_those_of_scipy(stack, found):
    for event, (first, second) in enumerate(stack[:, [0, 2]].astype(float)):
        one, two = first > threshold_otsu(stack[event, 0]), second > threshold_otsu(stack[event, 2])
        union = one | two
        expected = stats.pearsonr(first[union], second[union])[0]
        assert found["Cells_Correlation_Correlation_DNA_BF"][event] == close(expected)
        a, b = first * one, second * two
        expected = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
        assert found["Cells_Correlation_Overlap_DNA_BF"][event] == close(expected)
        assert found["Cells_Correlation_Manders_DNA_BF"][event] == close(a[two].sum() / a.sum())
        assert found["Cells_Correlation_Manders_BF_DNA"][event] == close(b[one].sum() / b.sum())
        centres = [regionprops(m.astype(int), i)[0].centroid_weighted for m, i in ((one, first), (two, second))]
        assert found["Cells_Location_Delta_DNA_BF"][event] == close(np.hypot(*np.subtract(*centres)))


def test_pearson_keeps_its_digits_on_a_high_background():
    stack = cells(channels=2) + 60_000
    r = table(stack, ["A", "B"], {"groups": ["correlation"]})["Cells_Correlation_Correlation_A_B"]
    for event, (a, b) in enumerate(stack):
        union = (a > threshold_otsu(a)) | (b > threshold_otsu(b))
        assert r[event] == close(stats.pearsonr(a[union].astype(float), b[union].astype(float))[0])


def test_what_an_empty_mask_cannot_tell_is_nan():
    stack = cells(2)
    stack[1, 0] = 7.5  # constant: no threshold divides it
    found = table(stack)
    empty = {name: column[1] for name, column in found.items() if name.endswith("_DNA")}
    assert empty.pop("Cells_AreaShape_Area_DNA") == 0
    # a Manders share into an empty mask is a true 0
    shares = {name: value for name, value in empty.items() if "Manders" in name}
    assert set(shares.values()) == {0.0}
    assert all(np.isnan(value) for name, value in empty.items() if name not in shares)
    assert np.isnan(found["Cells_Correlation_Correlation_DNA_BF"][1])
    assert not np.isnan(found["Cells_Correlation_Correlation_Tubulin_BF"][1])
    assert not any(np.isnan(column[0]) for column in found.values())


def test_a_mask_of_one_pixel():
    stack = np.zeros((1, 3, 9, 9), np.float32)
    stack[0, :, 4, 5] = 3
    found = {name: column[0] for name, column in table(stack).items()}
    assert found["Cells_AreaShape_Area_DNA"] == 1
    assert found["Cells_Intensity_MeanIntensity_DNA"] == 3
    assert found["Cells_RadialMoment_RadialMoment_DNA"] == 0
    assert found["Cells_Granularity_1_DNA"] == 100
    region = regionprops((stack[0, 0] > 0).astype(int))[0]
    assert found["Cells_AreaShape_MajorAxisLength_DNA"] == close(region.axis_major_length)
    assert found["Cells_Location_CenterMassIntensity_X_DNA"] == 5
    undefined = [
        "RadialMoment_Eccentricity",
        "AreaShape_Eccentricity",
        "AreaShape_FormFactor",
        "Texture_Contrast_1",
        "Intensity_Skewness",
    ]
    assert all(np.isnan(found[f"Cells_{name}_DNA"]) for name in undefined)
    assert np.isnan(found["Cells_Correlation_Correlation_DNA_BF"])


def test_a_channel_with_nan_has_no_features_and_spoils_no_other(stack, found):
    broken = stack.copy()
    broken[2, 1, 5, 5], broken[4, 1, 0, 0] = np.nan, np.inf
    again = table(broken)
    for name, column in again.items():
        whole = np.isin(np.arange(len(stack)), [2, 4], invert=True)
        np.testing.assert_allclose(column[whole], found[name][whole], rtol=1e-5)
        if "Tubulin" in name:
            assert np.isnan(column[~whole]).all(), name
        else:
            np.testing.assert_allclose(column, found[name], rtol=1e-5)
    assert np.isnan(broken[2, 1, 5, 5])  # the stack is read only


def test_padding_changes_nothing_where_frames_say_what_is_padding(stack, found):
    wide = np.zeros((len(stack), 3, 52, 60), np.float32)
    wide[:, :, 7:47, 11:44] = stack
    frames = np.tile([7, 11, 40, 33], (len(stack), 1))
    again = table(wide, frames=frames)
    # padding that follows a border pixel is part of its gradient
    moved = {"Cells_Location_CenterMassIntensity_X": 11, "Cells_Location_CenterMassIntensity_Y": 7}
    for name, column in found.items():
        if "Gradient" not in name:
            shift = moved.get(name.rpartition("_")[0], 0)
            # a Hu moment near 0 has no digits to keep
            np.testing.assert_allclose(again[name], column + shift, rtol=2e-3, atol=1e-6, err_msg=name)


def test_one_channel_masks_all_as_a_sorter_does(stack, found):
    again = table(stack, options={**OPTIONS, "mask_channel": "Tubulin"})
    image, mask = stack[1, 0], stack[1, 1] > threshold_otsu(stack[1, 1])
    assert again["Cells_Intensity_MeanIntensity_DNA"][1] == close(image[mask].mean())
    np.testing.assert_array_equal(again["Cells_AreaShape_Area_DNA"], found["Cells_AreaShape_Area_DNA"])
    inside = stats.pearsonr(image[mask], stack[1, 2][mask])[0]
    assert again["Cells_Correlation_Correlation_DNA_BF"][1] == close(inside)


def test_dark_objects_and_objects_of_both_signs_have_their_own_contrast(stack):
    options = {**OPTIONS, "groups": ["shape", "moments"]}
    bright = table(stack, options=options)
    dark = table(-stack, options={**options, "contrast": dict.fromkeys(CHANNELS, "dark")})
    for name, column in bright.items():
        np.testing.assert_array_equal(dark[name], column)
    both = table(stack, options={**options, "contrast": {"DNA": "both"}})
    magnitude = np.abs(stack[:, 0])
    expected = [(image > threshold_otsu(image)).sum() for image in magnitude]
    np.testing.assert_array_equal(both["Cells_AreaShape_Area_DNA"], expected)


@pytest.mark.parametrize(
    "options, cut",
    [
        ({"threshold": "fraction", "value": 0.3}, lambda image: 0.3 * image.max()),
        ({"threshold": "constant", "value": {"DNA": 250, "Tubulin": 1, "BF": 1}}, lambda image: 250),
    ],
)
def test_thresholds_by_fraction_and_by_constant(stack, options, cut):
    area = table(stack, options={**options, "groups": ["shape"]})["Cells_AreaShape_Area_DNA"]
    np.testing.assert_array_equal(area, [(image > cut(image)).sum() for image in stack[:, 0]])


def test_otsu_of_the_sample_is_one_threshold_for_all_events(stack):
    options = {"threshold": "sample_otsu", "groups": ["shape"]}
    thresholds = sample_thresholds(stack, CHANNELS, options)
    np.testing.assert_allclose(thresholds, [threshold_otsu(stack[:, c]) for c in range(3)], rtol=1e-5)
    area = table(stack, options=options)["Cells_AreaShape_Area_BF"]
    np.testing.assert_array_equal(area, (stack[:, 2] > thresholds[2]).sum(axis=(1, 2)))
    part = features(stack[2:3], CHANNELS, options, thresholds=thresholds)
    np.testing.assert_array_equal(part[0], features(stack, CHANNELS, options)[2])


def test_the_largest_part_of_each_event_is_kept():
    stack = cells(5, channels=1, seed=3)
    area = table(stack, ["A"], {"keep": "largest", "groups": ["shape"]})["Cells_AreaShape_Area_A"]
    for event, image in enumerate(stack[:, 0]):
        parts = label(image > threshold_otsu(image), connectivity=2)
        assert area[event] == np.bincount(parts.ravel())[1:].max()


def test_a_hole_counts_in_the_euler_number():
    ring = np.ones((1, 1, 9, 9), np.float32)
    ring[0, 0, 3:6, 3:6] = 0
    ring[0, 0, [0, -1]] = 0
    assert table(ring, ["A"], {"groups": ["shape"]})["Cells_AreaShape_EulerNumber_A"] == 0


def test_a_memory_mapped_stack_in_chunks_and_threads_gives_the_same_bytes(tmp_path):
    stack = cells(40, channels=2, shape=(104, 104))
    np.save(tmp_path / "stack.npy", stack)
    mapped = np.load(tmp_path / "stack.npy", mmap_mode="r")
    options = {"groups": ["intensity", "texture", "correlation"]}
    parts = list(iterate_features(mapped, ["A", "B"], options, threads=2))
    assert len(parts) > 1
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    together = np.concatenate([found for _, found in parts])
    assert together.tobytes() == features(stack, ["A", "B"], options).tobytes()
    alone = features(stack[17:18], ["A", "B"], options)[0]
    np.testing.assert_allclose(together[17], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (5, 3)])
def test_tiny_images_are_measured_without_an_error(shape):
    stack = np.random.default_rng(0).random((3, 2, *shape), np.float32)
    assert features(stack, ["A", "B"]).shape[0] == 3


def test_no_event_is_an_empty_table():
    assert features(np.empty((0, 2, 5, 5), np.float32), ["A", "B"]).shape == (0, len(feature_names(["A", "B"])))


@pytest.mark.parametrize("group", GROUPS)
def test_groups_are_measured_one_by_one_as_together(stack, found, group):
    alone = table(stack, options={**OPTIONS, "groups": [group]})
    assert alone
    for name, column in alone.items():
        np.testing.assert_array_equal(column, found[name])


@pytest.mark.parametrize(
    "channels, options, words",
    [
        (["A", "B"], None, "one plane per channel"),
        (["A", "A", "B"], None, "distinct"),
        (CHANNELS, {"thresold": "otsu"}, "no option thresold"),
        (CHANNELS, {"threshold": "li"}, "otsu"),
        (CHANNELS, {"groups": ["colour"]}, "colour"),
        (CHANNELS, {"mask_channel": "RNA"}, "'RNA'"),
        (CHANNELS, {"contrast": {"BF": "black"}}, "black"),
        (CHANNELS, {"threshold": "constant", "value": {"DNA": 3}}, "'Tubulin'"),
        (CHANNELS, {"levels": 1}, "levels"),
    ],
)
def test_a_wrong_option_is_named(stack, channels, options, words):
    with pytest.raises(InputError, match=words):
        features(stack, channels, options)


def test_options_may_be_an_object(stack):
    options = FeatureOptions(groups=("intensity",))
    np.testing.assert_array_equal(
        features(stack, CHANNELS, options), features(stack, CHANNELS, {"groups": ["intensity"]})
    )
