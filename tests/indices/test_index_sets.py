"""The index sets against the numbers of bands in Table 6 of the paper and the order that its networks take."""

import pytest

from coslide import networks
from coslide.cube.band import Band
from coslide.indices.index_sets import index_set, missing_indices
from coslide.networks.dates import date_bands

BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")


def bands_of(*names):
    """Return the bands of a cube in the order in which it is built: after the event first."""
    reflectance = [
        Band(f"reflectance_{date}_{channel}", date=date, quantity="reflectance", channel=channel)
        for date in ("post", "pre")
        for channel in BANDS
    ]
    dates = {"ndvi_pre": "pre", "ndvi_post": "post"}
    return reflectance + [Band(name, date=dates.get(name, ""), quantity="ndvi" * (name in dates)) for name in names]


CUBE = bands_of(
    "pre_available", "ndvi_post", "ndvi_pre", "elevation", "slope", "aspect_class", "mean_curvature", "stratum_class",
    "rainfall", "pga_class", "fault_distance_class",
)  # fmt: skip


def names(bands):
    return [band.name for band in bands]


@pytest.mark.parametrize(("name", "count"), [("a", 20), ("b", 23), ("c", 25), ("d", 30)])
def test_a_set_has_the_bands_of_table_6(name, count):
    assert len(index_set(name, CUBE)) == count
    assert missing_indices(name, CUBE) == []


def test_the_sets_differ_by_what_table_6_adds():
    a, b, c, d = (set(names(index_set(name, CUBE))) for name in "abcd")
    assert b - a == {"slope", "aspect_class", "mean_curvature"}
    assert c - b == {"ndvi_pre", "ndvi_post"}
    assert d - c == {"stratum_class", "elevation", "rainfall", "pga_class", "fault_distance_class"}
    assert a < b < c < d


def test_the_order_is_the_one_that_networks_of_two_dates_take_30_bands_to_have():
    bands = index_set("d", CUBE)
    ordered = names(bands)
    assert ordered[:10] == [f"reflectance_pre_{band}" for band in BANDS]
    assert ordered[20:22] == ["ndvi_pre", "ndvi_post"]
    by_name = networks.date_options("cdcnn", bands)
    assert date_bands(30) == date_bands(30, pre=by_name["pre"], post=by_name["post"])


def test_what_a_cube_lacks_is_named_and_the_rest_is_there():
    cube = [band for band in CUBE if not band.name.startswith("reflectance_pre") and "ndvi" not in band.name]
    assert missing_indices("c", cube) == ["reflectance_pre", "ndvi_pre", "ndvi_post"]
    assert names(index_set("c", cube))[-4:] == ["reflectance_post_B12", "slope", "mean_curvature", "aspect_class"]


def test_the_ndvi_difference_stands_for_the_ndvi_of_the_dates():
    cube = bands_of("ndvi_difference", "slope", "mean_curvature", "aspect_class")
    assert names(index_set("c", cube))[20:22] == ["ndvi_difference", "slope"]
    assert missing_indices("c", cube) == []
    assert "ndvi_difference" not in names(index_set("b", cube))


def test_all_three_ndvi_layers_stay_together():
    cube = bands_of("ndvi_difference", "ndvi_post", "ndvi_pre")
    assert names(index_set("d", cube))[20:] == ["ndvi_pre", "ndvi_post", "ndvi_difference"]


def test_the_curvature_of_arcgis_stands_for_mean_curvature():
    cube = bands_of("esri_curvature", "slope", "aspect_class")
    assert names(index_set("b", cube))[20:] == ["slope", "esri_curvature", "aspect_class"]
    assert missing_indices("b", cube) == []


def test_availability_and_diagnostics_are_in_no_set():
    cube = [*CUBE, Band("pga_g", "g"), Band("fault_distance", "m")]
    assert {"pre_available", "pga_g", "fault_distance"}.isdisjoint(names(index_set("d", cube)))


def test_indices_and_single_bands_may_be_named():
    chosen = ["slope", "reflectance_post_B4", "reflectance_pre", "reflectance_pre_B2", "gravity"]
    assert names(index_set(chosen, CUBE))[:2] == ["slope", "reflectance_post_B4"]
    assert len(index_set(chosen, CUBE)) == 2 + 10
    assert missing_indices(chosen, CUBE) == ["gravity"]
