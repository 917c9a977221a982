"""The methods that a network has to be better than."""

import numpy as np
import pytest

from coslide.cube.band import Band
from coslide.pipeline.baselines import fit_change, fit_forest, spectral_change

REFLECTANCE = {
    f"reflectance_{date}_{channel}": Band(
        f"reflectance_{date}_{channel}", date=date, quantity="reflectance", channel=channel
    )
    for date in ("pre", "post")
    for channel in ("B2", "B3", "B4", "B8", "B11")
}
NDVI = {f"ndvi_{date}": Band(f"ndvi_{date}", date=date, quantity="ndvi") for date in ("pre", "post")}
KNOWN = REFLECTANCE | NDVI | {name: Band(name) for name in ("slope", "ndvi_difference")}


def test_a_forest_learns_from_rare_landslides_what_one_band_cannot_tell():
    """Landslide is where the two bands differ in sign; each alone tells nothing."""
    random = np.random.default_rng(0)
    values = random.normal(size=(20_000, 2)).astype(np.float32)
    truth = (values[:, 0] * values[:, 1] < 0) & (random.random(20_000) < 0.2)
    forest = fit_forest(values, truth, seed=1)
    corners = np.array([[1, -1], [-1, 1], [1, 1], [-1, -1]], dtype=np.float32)
    found = forest(corners)
    assert found[:2].min() > 2 * found[2:].max()
    np.testing.assert_array_equal(fit_forest(values, truth, seed=1)(corners), found)


def test_missing_values_and_no_pixels_are_no_error():
    values = np.array([[np.nan], [1.0], [np.nan], [1.0]] * 10, dtype=np.float32)
    forest = fit_forest(values, values[:, 0] == 1.0)
    assert forest(values[:2])[0] < 0.5 < forest(values[:2])[1]


@pytest.mark.parametrize("truth", [np.ones(4, dtype=bool), np.zeros(4, dtype=bool)])
def test_a_forest_needs_both_classes(truth):
    with pytest.raises(ValueError, match="0 sample"):
        fit_forest(np.zeros((4, 1), dtype=np.float32), truth)


@pytest.mark.parametrize(
    ("names", "expected", "what"),
    [
        (["ndvi_pre", "ndvi_post", "reflectance_pre_B4"], [-1, -1], "fall of NDVI"),
        (["slope", "ndvi_difference", "reflectance_post_B4"], [-2, -5], "fall of NDVI"),
        (["reflectance_post_B4", "slope", "reflectance_pre_B4"], [-2, -2], "rise of red reflectance"),
        (["reflectance_post_B2", "reflectance_post_B8", "reflectance_post_B3"], [2, 5], "brightness after the event"),
        (["reflectance_post_B8", "reflectance_post_B11", "slope"], [1.5, 4.5], "brightness after the event"),
    ],
)
def test_change_is_taken_from_the_best_bands_that_are_there(names, expected, what):
    values = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    change, name = spectral_change(values, [KNOWN[name] for name in names])
    assert (change.tolist(), name) == (expected, what)


def test_without_reflectance_there_is_no_change():
    change, name = spectral_change(np.ones((2, 1), dtype=np.float32), [KNOWN["slope"]])
    assert np.isnan(change).all()
    assert name == ""


def test_change_is_scaled_between_its_extremes_and_without_a_value_never_recognised():
    change = np.linspace(0, 1, 1001, dtype=np.float32)[:, np.newaxis]
    scaled, name = fit_change(-change, [KNOWN["ndvi_difference"]])
    assert name == "fall of NDVI"
    found = scaled(-np.array([[-1], [0.0005], [0.5], [2], [np.nan]], dtype=np.float32))
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 0], atol=1e-6)
    flat, _ = fit_change(np.ones((3, 1), np.float32), [KNOWN["ndvi_difference"]])
    assert (flat(change) == 0).all()
    assert fit_change(change, [KNOWN["slope"]]) is None
