"""Labels are compared with pixel centres that shapely finds inside polygons, and with their areas."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.transform import Affine
from shapely.geometry import LineString, Point, Polygon, box

from coslide.errors import InputError
from coslide.io.vector import VectorFile
from coslide.mapping.inventory import vectorize_landslides as polygonize
from coslide.sources.inventory import rasterize_inventory, rasterize_polygons

UTM = "EPSG:32654"
GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), UTM)
LARGE = box(500200, 4699700, 500300, 4699800)


def save(path, geometry, crs=UTM):
    gpd.GeoDataFrame({"n": range(len(geometry))}, geometry=geometry, crs=crs).to_file(path)
    return path


def blobs(count, side_m, seed=0):
    """Return polygons of landslide-like sizes (log-normal, median about 1200 m2) and ragged outlines."""
    rng = np.random.default_rng(seed)
    shapes = []
    for x, y in rng.uniform(60, side_m - 60, (count, 2)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 14))
        radius = np.sqrt(rng.lognormal(np.log(1195), 0.9) / np.pi) * rng.uniform(0.6, 1.4, 14)
        outline = np.stack([x + radius * np.cos(angles), y + 0.6 * radius * np.sin(angles)], axis=1)
        shapes.append(Polygon(outline + (500000, 4700000 - side_m)))  # noqa: RUF005 - an array
    return shapes


def test_a_pixel_is_landslide_if_its_centre_lies_inside(tmp_path):
    """R38: the centre rule, against shapely for every pixel."""
    shapes = [shape for shape in blobs(12, 400) if shape.area > 500]
    mask = rasterize_inventory(save(tmp_path / "l.gpkg", shapes), GRID).mask
    columns, rows = np.meshgrid(np.arange(50), np.arange(40))
    inside = shapely.contains_xy(shapely.union_all(shapes), 500005 + 10 * columns, 4699995 - 10 * rows)
    np.testing.assert_array_equal(mask, inside.astype(np.uint8))


def test_touched_pixels_do_not_count(tmp_path):
    """R38: the centres of columns 1 to 3 and rows 1 to 2 lie inside."""
    expected = np.zeros(GRID.shape, dtype=np.uint8)
    expected[1:3, 1:4] = 1
    mask = rasterize_inventory(save(tmp_path / "l.gpkg", [box(500014, 4699971, 500036, 4699986)]), GRID).mask
    np.testing.assert_array_equal(mask, expected)


def test_the_rasterized_area_is_that_of_the_polygons_within_one_percent(tmp_path):
    """R38, on 1500 landslides of a median of about 1200 m2."""
    grid = GeoBox((1000, 1000), GRID.affine, UTM)
    shapes = blobs(1500, 10_000)
    labels = rasterize_inventory(save(tmp_path / "l.gpkg", shapes), grid)
    area_m2 = shapely.union_all(shapely.make_valid(shapes)).area
    assert abs(labels.mask.sum() * 100 / area_m2 - 1) < 0.01
    np.testing.assert_allclose(labels.area_m2, area_m2, rtol=1e-3)


def test_a_landslide_without_a_pixel_centre_is_rasterized_by_touch_and_listed(tmp_path):
    """R38: small landslides are not lost."""
    small = box(500101, 4699901, 500103, 4699903)
    labels = rasterize_inventory(save(tmp_path / "l.gpkg", [LARGE, small]), GRID)
    assert (labels.polygons, labels.touched) == (2, (1,))
    assert labels.mask[9, 10] == 1
    assert labels.mask.sum() == 101


def test_every_landslide_has_a_pixel(tmp_path):
    """R38, on landslides of half a pixel each."""
    random = np.random.default_rng(1)
    small = [box(x, y, x + 7, y + 7) for x, y in random.uniform((500010, 4699610), (500480, 4699980), (200, 2))]
    labels = rasterize_inventory(save(tmp_path / "l.gpkg", small), GRID)
    burnt = shapely.union_all(
        [
            box(500000 + 10 * column, 4699990 - 10 * row, 500010 + 10 * column, 4700000 - 10 * row)
            for row, column in np.argwhere(labels.mask == 1)
        ]
    )
    assert all(burnt.intersects(shape) for shape in small)
    centres = [(shape, ~GRID.affine * shape.bounds[:2], ~GRID.affine * shape.bounds[2:]) for shape in small]
    lost = [  # no half-integer between the bounds
        i for i, (_, low, high) in enumerate(centres)
        if np.ceil(low[0] - 0.5) + 0.5 > high[0] or np.ceil(high[1] - 0.5) + 0.5 > low[1]
    ]  # fmt: skip
    assert labels.touched == tuple(lost)


@pytest.mark.parametrize("over", [1, 2])
def test_a_landslide_hidden_by_others_is_not_rasterized_by_touch(tmp_path, over):
    """R38: a second outline of the same landslide, before or after it, hides no centre."""
    inner = box(500203, 4699703, 500223, 4699723)
    shapes = [LARGE, inner, LARGE][:: 1 if over == 2 else -1][-over - 1 :]
    assert rasterize_inventory(save(tmp_path / "l.gpkg", shapes), GRID).touched == ()


def test_a_large_landslide_that_only_grazes_the_grid_is_not_rasterized_by_touch(tmp_path):
    """R38: it is not small, only elsewhere."""
    path = save(
        tmp_path / "l.gpkg", [LARGE, box(499800, 4699700, 500002, 4699800), box(500499, 4699991, 500507, 4699994)]
    )
    labels = rasterize_inventory(path, GRID)
    assert labels.touched == (2,)
    assert labels.mask.sum() == 101


def test_pixels_outside_the_mapped_area_are_nodata_not_background(tmp_path):
    """R38: nobody looked there."""
    landslides = save(tmp_path / "l.gpkg", [box(500000, 4699600, 500500, 4699700)])
    area = save(tmp_path / "a.gpkg", [box(500000, 4699600, 500250, 4700000)])
    labels = rasterize_inventory(landslides, GRID, area=area)
    assert (labels.mask[:, 25:] == 255).all()
    assert set(np.unique(labels.mask[:, :25])) == {0, 1}
    np.testing.assert_allclose(labels.area_m2, 250 * 100)


def test_overlapping_landslides_count_once_in_the_area(tmp_path):
    path = save(tmp_path / "l.gpkg", [LARGE, LARGE, box(500300, 4699700, 500700, 4699800)])
    np.testing.assert_allclose(rasterize_inventory(path, GRID).area_m2, 100 * 100 + 200 * 100)


def test_landslides_that_cross_themselves_are_repaired_and_counted(tmp_path):
    bowtie = Polygon([(500000, 4699600), (500200, 4699800), (500200, 4699600), (500000, 4699800)])
    labels = rasterize_inventory(save(tmp_path / "l.gpkg", [bowtie, LARGE]), GRID)
    assert labels.repaired == 1
    np.testing.assert_allclose(labels.area_m2, 2e4 + 1e4)
    assert abs(labels.mask.sum() - 300) <= 20  # centres on the outline may fall either way


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_made_into_polygons_and_rasterized_again_are_the_same(tmp_path, seed):
    """R37: rasterize -> polygonize -> rasterize is the identity."""
    grid = GeoBox((200, 200), GRID.affine, UTM)
    first = rasterize_inventory(save(tmp_path / "l.gpkg", blobs(120, 2000, seed)), grid)
    drawn = polygonize(first.mask.astype(np.float32), grid)
    drawn.to_file(tmp_path / "again.gpkg")
    second = rasterize_inventory(tmp_path / "again.gpkg", grid)
    np.testing.assert_array_equal(second.mask, first.mask)
    assert second.touched == ()


def test_an_inventory_in_another_crs_is_reprojected(tmp_path):
    landslides = gpd.GeoSeries([box(500100, 4699700, 500300, 4699900)], crs=UTM)
    here = rasterize_inventory(save(tmp_path / "a.gpkg", landslides), GRID).mask
    there = rasterize_inventory(save(tmp_path / "b.gpkg", landslides.to_crs("EPSG:2454"), crs="EPSG:2454"), GRID).mask
    assert here.sum() == 400
    assert (here != there).sum() <= 4


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ([], "holds no feature; expected landslide polygons"),
        ([Polygon()], "holds no feature"),
        ([LineString([(500000, 4699700), (500100, 4699700)])], "found LineString, expected landslide polygons"),
        ([LARGE, Point(500000, 4699700)], "found Point, expected landslide polygons"),
        ([box(0, 0, 1, 1)], "none of its features overlaps the grid"),
    ],
)
def test_an_inventory_that_cannot_be_used_is_refused(tmp_path, geometry, message):
    with pytest.raises(InputError, match=message):
        rasterize_inventory(save(tmp_path / "l.gpkg", geometry), GRID)


def test_rasterizing_nothing_gives_background():
    assert rasterize_polygons(gpd.GeoDataFrame(geometry=[], crs=UTM), GRID).sum() == 0


@pytest.mark.realdata
def test_the_real_inventory_keeps_its_area(data_folder):
    """R38: within 1 % of the real polygons' own area inside the grid."""
    grid = GeoBox((976, 647), Affine(10, 0, 572840, 0, -10, 4735680), UTM)
    path = data_folder / "iburi-2018" / "inventory" / "slope_failures.gpkg"
    landslides = gpd.read_file(path).to_crs(UTM).union_all().intersection(box(*grid.boundingbox.bbox))
    labels = rasterize_inventory(path, grid)
    assert abs(labels.mask.sum() * 100 / landslides.area - 1) < 0.01
    np.testing.assert_allclose(labels.area_m2, landslides.area, rtol=1e-4)
    assert len(labels.touched) < 0.02 * labels.polygons


def test_landslides_and_area_in_one_file_need_the_layer_of_the_landslides(tmp_path):
    path = save(tmp_path / "l.gpkg", [box(500000, 4699900, 500100, 4700000)])
    with pytest.raises(
        InputError, match=r"l\.gpkg: holds landslides and mapped area; name the layer of each, first layer"
    ):
        rasterize_inventory(path, GRID, area=VectorFile(path, "l"))
    assert rasterize_inventory(VectorFile(path, "l"), GRID, area=VectorFile(path, "l")).polygons == 1


def test_polygons_much_larger_than_the_grid_are_looked_at_in_strips_for_a_pixel_centre(tmp_path, monkeypatch):
    """A landslide outline of a whole region, and a sliver as long, hold or lack a centre beyond the grid's edge."""
    burnt = []

    def watched(shapes, shape, **options):
        burnt.append(shape[0] * shape[1])
        return rasterize(shapes, shape, **options)

    monkeypatch.setattr("coslide.sources.inventory.rasterize", watched)
    monkeypatch.setattr("coslide.sources.inventory._STRIP_PX", 2**16)
    sliver = box(400_000, 4699701, 600_000, 4699703)  # between rows of centres
    tall = Polygon([(500101, 4_600_000), (500103, 4_600_000), (500103, 4_700_000), (500101, 4_700_000)])
    beyond = Polygon([(500101, 4699701), (500102, 4699702), (700_000, 4_600_000), (500_000, 4_600_000)])
    labels = rasterize_inventory(save(tmp_path / "l.gpkg", [sliver, tall, beyond]), GRID)
    assert labels.touched == (0, 1)
    assert max(burnt) <= 2**16
