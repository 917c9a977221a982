"""Reflectance and NDVI from a made-up scene, against the formula in exact numbers and against slices of the whole."""

import concurrent.futures
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from numpy.testing import assert_array_equal
from odc.geo.geobox import GeoBox

from coslide.config.schema import NdviConfig
from coslide.cube.band import by_variable
from coslide.errors import InputError
from coslide.grid import slices_of
from coslide.indices.coregister import Shift
from coslide.indices.spectral import ndvi, ndvi_roles, prepare_ndvi_difference, prepare_scene

GRID = GeoBox((50, 37), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
WINDOWS = [GRID, GRID[:, :1], GRID[49:, :], GRID[7:24, 3:36], GRID[7:8, 3:4]]
BANDS = ("B2", "B4", "B8")


class Counts:
    """A scene of stored values, as two baselines of Sentinel-2 keep the same surface: with an offset and without."""

    acquired = "2017-07-29"
    sensor = "Sentinel-2 (10 m)"
    notes = ()

    def __init__(self, *, names=BANDS, offset=0, seed=0):
        random = np.random.default_rng(seed)
        self.band_names, self.offset = names, offset
        stored = random.integers(1, 6000, (len(names), *GRID.shape))
        self.stored = dict(zip(names, np.where(random.random(stored.shape) < 0.05, 0, stored - offset), strict=True))
        self.cloudless = random.random(GRID.shape) < 0.9
        self.asked = []

    def reflectance(self, name, window, *, shift_m=(0.0, 0.0)):
        self.asked.append((name, shift_m))
        stored = self.stored[name][slices_of(window, GRID)]
        values = (stored.astype(np.float32) + np.float32(self.offset)) / np.float32(10000)
        return np.where(stored == 0, np.float32(np.nan), values)

    def clear(self, window, *, shift_m=(0.0, 0.0)):
        self.asked.append(("clear", shift_m))
        return self.cloudless[slices_of(window, GRID)]

    def valid(self):
        return np.all([stored != 0 for stored in self.stored.values()], axis=0) & self.cloudless


def variables(family):
    return {band.name: band for band in family.bands}


def test_ndvi_is_its_formula():
    random = np.random.default_rng(0)
    red, nir = random.integers(1, 10000, (2, 500)).astype(np.float32) / np.float32(10000)
    exact = [
        (Fraction(float(n)) - Fraction(float(r))) / (Fraction(float(n)) + Fraction(float(r)))
        for r, n in zip(red, nir, strict=True)
    ]
    np.testing.assert_allclose(ndvi(red, nir), [float(number) for number in exact], rtol=3e-7, atol=3e-8)


def test_ndvi_keeps_the_shape_and_is_float32():
    found = ndvi(np.ones((4, 6))[:, ::2], np.full((4, 3), 3.0))
    assert found.dtype == np.float32
    assert_array_equal(found, np.full((4, 3), 0.5))


@pytest.mark.parametrize(
    ("red", "nir"),
    [(np.nan, 0.3), (0.3, np.nan), (0.0, 0.0), (-0.2, 0.1), (0.0002, 0.0003), (np.inf, 0.1), (0.1, np.inf)],
)
def test_ndvi_is_nodata_where_a_band_is_or_where_it_is_too_dark(red, nir):
    assert np.isnan(ndvi([red], [nir]))


@pytest.mark.parametrize(("red", "nir", "expected"), [(-0.01, 0.3, 1), (0.3, -0.01, -1), (0.0, 0.001, 1)])
def test_negative_reflectance_does_not_take_ndvi_beyond_one(red, nir, expected):
    assert ndvi([red], [nir]) == expected


def test_bands_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"nir: found the shape \(2,\), expected that of red, \(3,\)"):
        ndvi(np.ones(3), np.ones(2))


@pytest.mark.parametrize("when", ["pre", "post"])
@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: str(tuple(window.shape)))
def test_a_window_has_the_values_of_the_whole_to_the_bit(window, when):
    """R14."""
    family = prepare_scene(Counts(), when)
    whole, part = family.compute(GRID), family.compute(window)
    assert list(part) == list(by_variable(family.bands))
    for name, values in part.items():
        assert values.tobytes() == whole[name][..., *slices_of(window, GRID)].tobytes()
        assert values.dtype == by_variable(family.bands)[name][0].dtype


def test_windows_in_threads_are_those_one_after_the_other():
    """R14."""
    family = prepare_scene(Counts(), "pre")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        together = list(threads.map(family.compute, WINDOWS * 5))
    for window, found in zip(WINDOWS * 5, together, strict=True):
        for name, values in family.compute(window).items():
            assert_array_equal(found[name], values)


def test_a_pixel_is_valid_in_all_bands_or_in_none():
    scene = Counts()
    computed = prepare_scene(scene, "pre").compute(GRID)
    valid = scene.valid()
    assert 0 < valid.sum() < valid.size
    for band, name in zip(computed["reflectance_pre"], BANDS, strict=True):
        assert_array_equal(band, np.where(valid, scene.reflectance(name, GRID), np.nan))
    assert_array_equal(np.isnan(computed["ndvi_pre"]), ~valid)
    assert_array_equal(computed["pre_available"], valid)


def test_ndvi_of_a_scene_is_that_of_its_bands():
    scene = Counts()
    computed = prepare_scene(scene, "post").compute(GRID)
    assert_array_equal(computed["ndvi_post"], ndvi(computed["reflectance_post"][1], computed["reflectance_post"][2]))


def test_nothing_is_read_twice():
    scene = Counts()
    prepare_scene(scene, "pre").compute(GRID)
    assert sorted(name for name, _ in scene.asked) == ["B2", "B4", "B8", "clear"]


def test_every_band_and_the_clouds_are_read_with_the_shift():
    scene = Counts()
    shift = Shift(-6.2, 3.5, chips=9, spread_m=0.4, applied=True, text="co-registration: removed")
    family = prepare_scene(scene, "pre", shift=shift)
    family.compute(GRID)
    assert {moved for _, moved in scene.asked} == {(-6.2, 3.5)}
    assert variables(family)["ndvi_pre"].provenance["shift_m"] == [-6.2, 3.5]
    assert variables(family)["reflectance_pre_B2"].provenance["coregistration"] == "co-registration: removed"
    assert family.notes == ("co-registration: removed",)


def test_a_shift_that_is_only_measured_moves_nothing():
    scene = Counts()
    shift = Shift(-6.2, 3.5, chips=9, spread_m=0.4, applied=False, text="only measured")
    family = prepare_scene(scene, "pre", shift=shift)
    family.compute(GRID)
    assert {moved for _, moved in scene.asked} == {(0.0, 0.0)}
    assert variables(family)["ndvi_pre"].provenance["shift_m"] == [0.0, 0.0]


def test_a_scene_without_near_infrared_has_no_ndvi_and_says_so():
    family = prepare_scene(Counts(names=("B2", "B3", "B4")), "post")
    assert list(by_variable(family.bands)) == list(family.compute(GRID)) == ["reflectance_post"]
    assert family.notes == ("scene post: no NDVI, which needs B4 and B8 or B8A; found B2, B3, B4",)


def test_a_scene_without_bands_is_refused():
    with pytest.raises(InputError, match=r"scenes\.pre: found no band"):
        prepare_scene(Counts(names=()), "pre")


def test_the_variables_say_what_they_are():
    family = prepare_scene(Counts(), "pre", ndvi_role="diagnostic", resampling="cubic")
    *reflectance, vegetation, available = family.bands
    assert [(band.name, band.channel, band.variable) for band in reflectance] == [
        (f"reflectance_pre_{name}", name, "reflectance_pre") for name in BANDS
    ]
    assert {(band.role, band.unit, band.quantity) for band in reflectance} == {("index", "1", "reflectance")}
    assert (vegetation.role, vegetation.channel) == ("diagnostic", "")
    assert (available.dtype, available.role, available.classes) == ("uint8", "index", 1)
    for band in family.bands:
        assert (band.date, band.group, band.optional) == ("pre", "scene_before", True)
        assert band.provenance["acquired"] == "2017-07-29"
        assert band.provenance["resampling"] == ("none" if band is available else "cubic")


def test_a_missing_acquisition_date_is_left_out():
    scene = Counts()
    scene.acquired = ""
    assert "acquired" not in prepare_scene(scene, "post").bands[0].provenance


def reading_ndvi(**scenes):
    def read(name, window):
        when = name.removeprefix("ndvi_")
        return prepare_scene(scenes[when], when).compute(window)[name]

    return SimpleNamespace(read=read)


def test_an_unchanged_surface_in_two_processing_baselines_has_no_ndvi_difference():
    """R5."""
    old, new = Counts(), Counts(offset=-1000)
    assert (old.stored["B4"] != new.stored["B4"]).any()
    family = prepare_ndvi_difference(reading_ndvi(pre=old, post=new))
    difference = family.compute(GRID)["ndvi_difference"]
    assert np.isfinite(difference).any()
    assert_array_equal(difference[np.isfinite(difference)], 0)


def test_lost_vegetation_is_negative_and_the_difference_needs_both_dates():
    stored = {
        "ndvi_pre": np.array([[0.8, 0.8, np.nan]], np.float32),
        "ndvi_post": np.array([[0.2, np.nan, 0.2]], np.float32),
    }
    family = prepare_ndvi_difference(SimpleNamespace(read=lambda name, _: stored[name]), role="diagnostic")
    difference = family.compute(GRID)["ndvi_difference"]
    assert difference.dtype == np.float32
    assert_array_equal(difference, np.array([[-0.6, np.nan, np.nan]], np.float32))
    assert [(band.name, band.role) for band in family.bands] == [("ndvi_difference", "diagnostic")]


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: str(tuple(window.shape)))
def test_the_difference_on_a_window_is_that_of_the_whole_to_the_bit(window):
    """R14."""
    family = prepare_ndvi_difference(reading_ndvi(pre=Counts(), post=Counts(seed=1)))
    whole = family.compute(GRID)["ndvi_difference"]
    assert family.compute(window)["ndvi_difference"].tobytes() == whole[slices_of(window, GRID)].tobytes()


@pytest.mark.parametrize(
    ("inputs", "has_pre", "expected"),
    [
        ("both", True, ("index", "diagnostic")),
        ("difference", True, ("diagnostic", "index")),
        ("all", True, ("index", "index")),
        ("difference", False, ("index", "index")),
    ],
)
def test_the_event_file_says_which_ndvi_a_network_sees(inputs, has_pre, expected):
    assert ndvi_roles(NdviConfig(inputs=inputs), has_pre=has_pre) == expected
