"""Features across the 180th meridian and beyond reach, against geometry made in metres and transformed by pyproj."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
import shapely.affinity
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import Affine
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from coslide.config.schema import FaultsConfig, GeologyConfig, ShakingConfig
from coslide.config.training import SplitSettings
from coslide.errors import InputError
from coslide.indices.event_layers import _area_extent
from coslide.io.shapes import POLYGONS
from coslide.io.vector import VectorFile, read_polygons, read_vector
from coslide.pipeline.evaluate import _regions
from coslide.pipeline.labelled_scene import burn_regions
from coslide.samples.split import Subset
from coslide.sources.contours import read_contours
from coslide.sources.geology import read_strata, read_traces
from coslide.sources.inventory import rasterize_inventory

FIJI, ALEUTIANS = "EPSG:32701", "EPSG:32660"
# Both hold the meridian near their middle.
GRIDS = {
    FIJI: GeoBox((200, 300), Affine(100, 0, 165_000, 0, -100, 8_130_000), FIJI),
    ALEUTIANS: GeoBox((200, 300), Affine(100, 0, 680_000, 0, -100, 5_770_000), ALEUTIANS),
}
FORMS = ("as +180 and -180", "split at the meridian", "from 0 to 360")


def in_degrees(shape, crs, form):
    """Give a shape in metres as files hold it in degrees."""
    shape = shapely.segmentize(shape, 500)
    to_degrees = Transformer.from_crs(crs, 4326, always_xy=True)
    degrees = shapely.transform(shape, lambda xy: np.column_stack(to_degrees.transform(*xy.T)))
    east = shapely.transform(degrees, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    if form == "from 0 to 360":
        return east
    if form == "as +180 and -180":
        return shapely.transform(east, lambda xy: np.column_stack([(xy[:, 0] + 180) % 360 - 180, xy[:, 1]]))
    sides = [east.intersection(box(0, -90, 180, 90)), east.intersection(box(180, -90, 360, 90))]
    sides[1] = shapely.transform(sides[1], lambda xy: xy - [360, 0])
    return shapely.union_all(sides)  # a multi-shape


@pytest.fixture(params=[(crs, form) for crs in GRIDS for form in FORMS], ids=" ".join)
def place(request, tmp_path):
    """Return a grid, a polygon across the meridian in its middle, and how to write shapes into a file."""
    crs, form = request.param
    grid = GRIDS[crs]
    left, bottom, right, top = grid.boundingbox.buffered(-5000).bbox
    area = Polygon([(left, bottom), (right, bottom + 1017), (right - 2011, top), (left + 503, top - 707)])  # no ties
    area = shapely.affinity.translate(area, 37.3, 21.7)

    def save(shapes, **columns):
        degrees = [in_degrees(shape, crs, form) for shape in shapes]
        gpd.GeoDataFrame(columns or {"n": range(len(shapes))}, geometry=degrees, crs=4326).to_file(tmp_path / "v.gpkg")
        return tmp_path / "v.gpkg"

    return grid, area, save


def inside(grid, area):
    columns, rows = np.meshgrid(np.arange(grid.shape.x) + 0.5, np.arange(grid.shape.y) + 0.5)
    return shapely.contains_xy(area, *(grid.affine @ (columns, rows)))


def test_polygons_across_the_meridian_lie_where_they_were_made(place):
    grid, area, save = place
    (found,) = read_polygons(save([area]), grid, what="areas").frame.geometry
    assert found.symmetric_difference(area).area < 1e-5 * area.area
    labels = rasterize_inventory(save([area.buffer(-3000)]), grid, area=save_beside(save, area)).mask
    assert (labels == 1).sum() == pytest.approx(area.buffer(-3000).area / 1e4, rel=0.01)
    np.testing.assert_array_equal(labels != 255, inside(grid, area))


def save_beside(save, area):
    path = save([area.buffer(-3000)])
    saved = path.rename(path.with_name("l.gpkg"))
    beside = save([area]).rename(path.with_name("area.gpkg"))
    saved.rename(path)
    return beside


def test_regions_of_a_split_and_of_an_evaluation_across_the_meridian_lie_where_they_were_made(place):
    grid, area, save = place
    path = save([area], name=["north"])
    np.testing.assert_array_equal(burn_regions(SplitSettings(regions=path), grid) == Subset.TEST, inside(grid, area))
    numbers, names = _regions(VectorFile(path), grid)
    assert names == ["north"]
    np.testing.assert_array_equal(numbers == 1, inside(grid, area))


def test_strata_across_the_meridian_lie_where_they_were_made(place):
    grid, area, save = place
    geology = GeologyConfig(path=save([area], unit=["T1"]), field="unit", ages=("T1",))
    np.testing.assert_array_equal(read_strata(geology, grid).codes == 1, inside(grid, area))


def test_lines_across_the_meridian_lie_where_they_were_made(place):
    grid, area, save = place
    line = LineString(area.exterior.coords[:3])
    traces = read_traces(FaultsConfig(path=save([line])), grid).lines
    assert shapely.hausdorff_distance(shapely.union_all(traces), line, densify=0.1) < 1
    contours = ShakingConfig(contours=save([line, line.parallel_offset(100)], value=[0.1, 0.2]), unit="g")
    found = read_contours(contours, grid)
    strong = shapely.union_all(found.geometry[found["pga_g"] == 0.1].to_numpy())
    assert shapely.hausdorff_distance(strong, line, densify=0.1) < 1


def test_the_rectangle_around_an_area_across_the_meridian_is_narrow(place):
    grid, area, save = place
    extent = _area_extent(VectorFile(save([area, area.buffer(-4000)])))
    west, south, east, north = extent.bounds
    degrees = in_degrees(area, str(grid.crs), "from 0 to 360").bounds
    np.testing.assert_allclose([west % 360, south, east % 360, north], degrees, atol=1e-6)


def test_an_area_in_metres_across_the_meridian_is_as_narrow(tmp_path):
    grid = GRIDS[FIJI]
    area = box(*grid.boundingbox.buffered(-5000).bbox)
    gpd.GeoDataFrame(geometry=[area], crs=FIJI).to_file(tmp_path / "a.gpkg")
    west, _, east, _ = _area_extent(VectorFile(tmp_path / "a.gpkg")).bounds
    assert 0 < east - west < 0.3


def save(path, shapes, crs=4326):
    gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=crs).to_file(path)
    return path


@pytest.mark.parametrize(
    "shape",
    [box(-100, -20, 100, 20), box(-179.9, -60, 179.9, 75), LineString([(-100, 0), (100, 1)])],
    ids=["200 degrees", "a tall strip", "a line"],
)
def test_an_edge_that_may_go_either_way_is_refused_naming_the_feature(tmp_path, shape):
    path = save(tmp_path / "v.gpkg", [box(179, -18, 180, -17), shape])
    with pytest.raises(
        InputError, match=r"v\.gpkg: feature 1: found an edge from longitude -?\d+.* either way round; "
    ):
        read_vector(path, FIJI, what="areas")


@pytest.mark.parametrize(
    "world",
    [
        box(-180, -90, 180, 90),
        Polygon([(-180, -90), (0, -90), (180, -90), (180, 90), (0, 90), (-180, 90)]),
        box(0, -90, 360, 90),
        # Holds the places that a UTM zone has no coordinates for.
        Polygon([(60, -40), (155, -40), (250, -40), (250, 40), (155, 40), (60, 40)]),
    ],
)
@pytest.mark.parametrize("crs", [FIJI, ALEUTIANS, "EPSG:32654"])
def test_a_polygon_as_large_as_the_world_covers_the_grid(tmp_path, crs, world):
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(500_000, 4_000_000 if crs != FIJI else 8e6)
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    grid = GeoBox((20, 20), Affine(100, 0, x, 0, -100, y), crs)
    polygons = read_polygons(save(tmp_path / "v.gpkg", [world]), grid, what="areas")
    covers = polygons.frame.geometry.iloc[0].contains(box(*grid.boundingbox.bbox))
    assert covers == bool(shapely.contains_xy(world, lon % 360 if world.bounds[0] >= 0 else lon, lat))


def test_a_polygon_with_a_hole_across_the_meridian_keeps_it(tmp_path):
    ring, hole = [(178, -18), (-178, -18), (-178, -15), (178, -15)], [(179.9, -17), (-179.9, -17), (-179.9, -16)]
    beside = [(-179.7, -17), (-179.6, -17), (-179.6, -16)]  # with no edge across
    (found,) = read_vector(save(tmp_path / "v.gpkg", [Polygon(ring, [hole, beside])]), "EPSG:4326", what="a").geometry
    assert found.is_valid
    assert found.area == pytest.approx(4 * 3 - 0.2 / 2 - 0.1 / 2)


def test_what_lies_beyond_reach_is_counted_in_a_warning(tmp_path, caplog):
    grid = GRIDS[FIJI]
    here, far = box(179.9, -17.1, 180, -17), box(3 - 90, -1, 5 - 90, 1)
    path = save(tmp_path / "v.gpkg", [far, here, box(2, -1, 4, 1)])
    with caplog.at_level("INFO", "coslide"):
        assert read_vector(path, grid, what="areas").index.to_list() == [1]
    assert "v.gpkg: 2 of 3 features lie beyond reach of EPSG:32701: left out" in caplog.text


@pytest.mark.parametrize("wrong", [(720.5, 1), (1e9, 1e9), (1e300, 0)])
def test_impossible_coordinates_are_counted_or_refused_where_they_may_matter(tmp_path, caplog, wrong):
    grid, here = GRIDS[FIJI], box(179.9, -17.1, 180, -17)
    far = Polygon([wrong, (wrong[0] * 1.1, wrong[1]), (wrong[0], wrong[1] + 5)])
    with caplog.at_level("INFO", "coslide"):
        found = read_vector(save(tmp_path / "v.gpkg", [far, here]), grid, what="areas")
    assert found.index.to_list() == [1]
    assert "1 of 2 features have coordinates that are no place on Earth, such as x" in caplog.text
    both = Polygon([wrong, (179.95, -17), (179.9, -16.9)])
    with pytest.raises(InputError, match=r"w\.gpkg: feature 1: found x .* beside coordinates near the grid, expected"):
        read_vector(save(tmp_path / "w.gpkg", [here, both]), grid, what="areas")
    with pytest.raises(InputError, match=r"a\.gpkg: found x .*, expected areas within reach of EPSG:32701"):
        read_vector(save(tmp_path / "a.gpkg", [far]), grid, what="areas")


def test_a_long_edge_of_a_contour_follows_its_parallel(tmp_path):
    """Its middle would be 400 m off if only its ends were transformed."""
    grid = GeoBox((20, 20), Affine(1000, 0, 490_000, 0, -1000, 4_710_000), "EPSG:32654")
    lines = [LineString([(140, lat), (142, lat)]) for lat in (42.4, 42.5)]
    gpd.GeoDataFrame({"value": [0.1, 0.2]}, geometry=lines, crs=4326).to_file(tmp_path / "c.json")
    found = read_contours(ShakingConfig(contours=tmp_path / "c.json", unit="g"), grid)
    middle = Point(Transformer.from_crs(4326, grid.crs.to_epsg(), always_xy=True).transform(141.0, 42.4))
    assert found.geometry.iloc[0].distance(middle) < 0.1


@pytest.mark.parametrize("other", [Point(179.95, -17), LineString([(179.9, -17), (179.95, -17)])])
def test_regions_and_areas_that_are_no_polygons_are_refused_in_one_line(tmp_path, other):
    grid, path = GRIDS[FIJI], save(tmp_path / "v.gpkg", [other])
    readers = [
        lambda: _regions(VectorFile(path), grid),
        lambda: burn_regions(SplitSettings(regions=path), grid),
        lambda: _area_extent(VectorFile(path)),
        lambda: read_vector(path, grid, what="polygons", kinds=POLYGONS),
    ]
    for read in readers:
        with pytest.raises(InputError, match=rf"v\.gpkg: found {other.geom_type}, expected .*polygons") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_collection_of_polygons_at_both_ends_is_one_area(tmp_path):
    halves = MultiPolygon([box(179.5, -18, 180, -17), box(-180, -18, -179.5, -17)])
    west, south, east, north = _area_extent(VectorFile(save(tmp_path / "v.gpkg", [halves]))).bounds
    assert (west, south, east, north) == (179.5, -18, 180.5, -17)
