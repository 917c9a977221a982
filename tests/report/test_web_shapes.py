"""Shapes in a page come back as they were, and lie where they should."""

import base64

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import box

from coslide.report.web_shapes import FINE_PX, encode_columns, encode_shapes, place_mesh, varints, vector_layer

GRID = GeoBox((976, 647), Affine(10, 0, 572800, 0, -10, 4735700), "EPSG:32654")


def read_varints(text):
    """Slowly, byte by byte, as the page's script does."""
    numbers, value, weight = [], 0, 1
    for byte in base64.b64decode(text):
        value, weight = value + (byte & 127) * weight, weight * 128
        if byte < 128:
            numbers.append(-(value + 1) // 2 if value % 2 else value // 2)
            value, weight = 0, 1
    return numbers


def decode(layer, grid=GRID):
    """Rebuild the shapes of a layer."""
    points, rings, parts = (read_varints(layer[name]) for name in ("points", "rings", "parts"))
    places = np.cumsum(np.reshape(read_varints(layer["xy"]), (-1, 2)), axis=0) * layer["unit"]
    x, y = grid.affine @ tuple(places.T)
    xy, take = list(zip(x, y, strict=True)), iter(range(len(x)))
    count, ring_count = iter(points), iter(rings)
    kind = shapely.Polygon if layer["kind"] == "polygon" else shapely.LineString
    found = []
    for number in parts:
        pieces = []
        for _ in range(number):
            own = [[xy[next(take)] for _ in range(next(count))] for _ in range(next(ring_count))]
            pieces.append(kind(own[0], own[1:]) if layer["kind"] == "polygon" else kind(own[0]))
        found.append(shapely.GeometryCollection(pieces))
    return found


@pytest.mark.parametrize("numbers", [[], [0], [-1, 1, 63, 64, -64, -65], [2**31 - 1, -(2**31) + 1, 5]])
def test_whole_numbers_come_back(numbers):
    assert read_varints(varints(np.array(numbers, dtype=np.int64))) == numbers


def test_outlines_along_pixels_come_back_exactly_with_their_holes_and_parts():
    ring = box(572900, 4735000, 573000, 4735100).difference(box(572930, 4735040, 572950, 4735070))
    two = shapely.MultiPolygon([box(573000, 4734000, 573010, 4734010), box(573010, 4734010, 573020, 4734030)])
    shapes = np.array([ring, two, box(572800, 4735690, 572810, 4735700)], dtype=object)
    layer = encode_shapes(shapes, GRID)
    assert (layer["unit"], layer["count"], layer["kind"]) == (1.0, 3, "polygon")
    for shape, found in zip(shapes, decode(layer), strict=True):
        assert shape.symmetric_difference(found.buffer(0)).area < 1e-6
    interiors = [len(piece.interiors) for one in decode(layer) for piece in one.geoms]
    assert interiors == [1, 0, 0, 0]


def test_other_coordinates_are_off_by_less_than_half_of_the_finest_part():
    random = np.random.default_rng(0)
    lines = shapely.linestrings(random.uniform((572000, 4730000), (580000, 4736000), (40, 12, 2)))
    layer = encode_shapes(lines, GRID)
    assert (layer["unit"], layer["kind"]) == (FINE_PX, "line")
    apart = [
        np.abs(shapely.get_coordinates(line) - shapely.get_coordinates(found)).max()
        for line, found in zip(lines, decode(layer), strict=True)
    ]
    assert 0 < max(apart) <= FINE_PX / 2 * 10 + 1e-6


def test_a_layer_without_shapes_is_empty():
    layer = vector_layer(gpd.GeoDataFrame({"id": []}, geometry=[], crs=str(GRID.crs)), GRID)
    assert (layer["count"], layer["xy"], layer["columns"]) == (0, "", {})


def test_columns_keep_what_matters_and_texts_stay_texts():
    frame = pd.DataFrame({
        "id": np.array([1, 2], np.int32), "area_m2": [900.0, 112.54], "probability_max": [0.98765, np.nan],
        "touches_nodata": [True, False], "empty": [np.nan, np.nan], "name": ["<script>", "x" * 999],
    })  # fmt: skip
    found = encode_columns(frame)
    assert found["id"] == [1, 2]
    assert found["area_m2"] == [900, 112.5]
    assert found["probability_max"] == [0.988, None]
    assert found["touches_nodata"] == [True, False]
    assert (found["name"][0], len(found["name"][1])) == ("<script>", 300)
    assert "empty" not in found


def parabolas(mesh, col, row):
    """Interpolate in a mesh as the page's script does."""
    v, u = (row - mesh["from"][0]) / mesh["step"][0], (col - mesh["from"][1]) / mesh["step"][1]
    i, j = (int(np.clip(np.rint(at), 1, mesh["nodes"] - 2)) for at in (v, u))
    down, across = ((t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2) for t in (v - i, u - j))
    nodes = (mesh["nodes"], mesh["nodes"])
    return [
        np.array(down) @ np.reshape(mesh[name], nodes)[i - 1 : i + 2, j - 1 : j + 2] @ across for name in ("lon", "lat")
    ]


@pytest.mark.parametrize(
    ("grid", "within_m"),
    [
        (GRID, 0.005),
        (GeoBox((10980, 10980), Affine(10, 0, 300000, 0, -10, 7000020), "EPSG:32633"), 0.05),  # a tile far in the north
        (GeoBox((3000, 3000), Affine(10, 0, 790000, 0, -10, 8000000), "EPSG:32760"), 0.02),  # across the 180th meridian
    ],
)
def test_between_the_nodes_of_the_mesh_places_are_right(grid, within_m):
    mesh, random = place_mesh(grid), np.random.default_rng(1)
    to_metres = Transformer.from_crs("EPSG:4326", str(grid.crs), always_xy=True)
    for row, col in random.uniform((-0.4, -0.4), (1.4, 1.4), (50, 2)) * grid.shape:
        x, y = to_metres.transform(*parabolas(mesh, col, row))
        assert np.hypot(*np.subtract((x, y), grid.affine @ (col, row))) < within_m
    assert max(mesh["lon"]) - min(mesh["lon"]) < 90
