"""Mutations of rasters, vectors and HDF5: a file that the library wrote whole, but that is not what is expected."""

import contextlib
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import geopandas as gpd
import h5py
import numpy as np
import pyogrio
import rasterio
import shapely
from affine import Affine
from mutations import Mutation, _has
from shapely.affinity import scale
from shapely.geometry import GeometryCollection, MultiPolygon, Point, Polygon

_is_raster = _has(".tif")
_is_vector = _has(".gpkg", ".geojson", ".shp", ".fgb", ".kml", ".parquet")


def _rewrite(path: Path, change: Callable[[np.ndarray, dict], np.ndarray | None], **creation) -> None:
    """Write a raster again with other values or another profile."""
    with rasterio.open(path) as file:
        values, profile = file.read(), dict(file.profile)
        scales, offsets = file.scales, file.offsets
    values = values if (changed := change(values, profile)) is None else changed
    for key in ("blockxsize", "blockysize", "tiled"):
        profile.pop(key, None)
    profile.update(count=values.shape[0], height=values.shape[1], width=values.shape[2], dtype=values.dtype, **creation)
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **profile) as file:
            file.write(values)
            if len(scales) == values.shape[0]:
                file.scales, file.offsets = scales, offsets


def _set(**entries) -> Callable[[np.ndarray, dict], None]:
    return lambda _, profile: profile.update(entries)


def _raster_values(path: Path, random: Random) -> None:
    value = random.choice((0, math.nan, math.inf, 1e38, -1e38, -9999, 65535, 1))
    share = random.choice((1.0, 0.5, 0.01))

    def change(values: np.ndarray, profile: dict) -> np.ndarray:
        profile["nodata"] = None
        values = values.astype(np.float32)
        values.flat[: int(share * values.size) or 1] = value
        return values

    _rewrite(path, change)


def _raster_nodata(path: Path, random: Random) -> None:
    value = random.choice((math.nan, math.inf, 1e300, 0, -1, 1, 3000))

    def change(values: np.ndarray, profile: dict) -> np.ndarray:
        profile["nodata"] = value
        return values.astype(np.float64)

    _rewrite(path, change)


def _raster_place(path: Path, random: Random) -> None:
    def change(_: np.ndarray, profile: dict) -> None:
        old = profile["transform"]
        profile["transform"] = random.choice(
            (
                Affine.identity(),
                old * Affine.rotation(30),
                old * Affine.shear(20, 0),
                old * Affine.scale(1e-9),
                old * Affine.scale(1e9),
                old * Affine.scale(-1, 1),
                Affine(math.nan, 0, 0, 0, math.nan, 0),
                Affine.translation(1e7, 1e7) * old,
                Affine.translation(360, 0) * old,
                Affine(old.a, 0, math.inf, 0, old.e, old.f),
            )
        )

    _rewrite(path, change)


def _raster_crs(path: Path, random: Random) -> None:
    codes = (
        None,
        "EPSG:4979",
        "EPSG:3857",
        "EPSG:32601",
        "EPSG:2193",
        "EPSG:4978",
        "EPSG:27700",
        "EPSG:9518",
        "EPSG:4326",
        "EPSG:3031",
    )
    engineering = 'LOCAL_CS["x",UNIT["metre",1]]'
    _rewrite(path, _set(crs=random.choice((*codes, engineering))))


def _raster_shape(path: Path, random: Random) -> None:
    rows, cols = random.choice(((1, 1), (1, None), (None, 1), (2, 2), (3, None)))
    _rewrite(path, lambda values, _: values[:, :rows, :cols])


def _raster_bands(path: Path, random: Random) -> None:
    count = random.choice((2, 3, 4))
    _rewrite(
        path,
        lambda values, _: np.concatenate([values] * count),
        photometric=random.choice(("minisblack", "rgb" if count > 2 else "minisblack")),
    )


def _raster_type(path: Path, random: Random) -> None:
    dtype = random.choice(("complex64", "uint8", "int8", "uint64", "bool"))

    def change(values: np.ndarray, profile: dict) -> np.ndarray:
        profile["nodata"] = None
        return values.astype("uint8" if dtype == "bool" else dtype)

    _rewrite(path, change)


def _raster_scale(path: Path, random: Random) -> None:
    value = random.choice((0.0, math.nan, math.inf, -1.0, 1e30))
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        if random.random() < 0.5:
            file.scales = (value,) * file.count
        else:
            file.offsets = (value,) * file.count


def _raster_mask(path: Path, random: Random) -> None:
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=random.random() < 0.5),
        rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file,
    ):
        mask = np.full(file.shape, 255, np.uint8)
        file.write_mask(mask)


def _raster_upside_down(path: Path, _: Random) -> None:
    def change(values: np.ndarray, profile: dict) -> np.ndarray:
        profile["transform"] = profile["transform"] * Affine.translation(0, values.shape[1]) * Affine.scale(1, -1)
        return values[:, ::-1]

    _rewrite(path, change)


def _raster_ground_points(path: Path, _: Random) -> None:
    with rasterio.open(path) as file:
        values, profile, place = file.read(), dict(file.profile), file.transform
    points = [rasterio.control.GroundControlPoint(r, c, *(place * (c, r))) for r in (0, 50) for c in (0, 50)]
    profile.pop("transform")
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **profile, gcps=points) as file:
            file.write(values)


def _stored(random: Random) -> dict[str, object]:
    return random.choice(
        (
            {"compress": "lzw", "predictor": 2},
            {"compress": "zstd"},
            {"tiled": True, "blockxsize": 16, "blockysize": 16},
            {"bigtiff": "yes"},
            {"endianness": "big"},
            {"interleave": "band"},
            {"compress": "deflate", "sparse_ok": True},
        )
    )


def _other_driver(path: Path, random: Random) -> None:
    driver = random.choice(("HFA", "PNG", "GPKG", "netCDF", "JPEG", "ENVI"))
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        with rasterio.open(path) as file:
            values, profile = file.read(), dict(file.profile)
        for key in ("blockxsize", "blockysize", "tiled", "interleave", "compress"):
            profile.pop(key, None)
        other = path.with_name("other.bin")
        with rasterio.open(other, "w", **(profile | {"driver": driver})) as file:
            file.write(values)
        shutil.move(other, path)


_RASTERS = [
    Mutation("values of a raster", _raster_values, _is_raster),
    Mutation("nodata of a raster", _raster_nodata, _is_raster),
    Mutation("place of a raster", _raster_place, _is_raster),
    Mutation("CRS of a raster", _raster_crs, _is_raster),
    Mutation("shape of a raster", _raster_shape, _is_raster),
    Mutation("bands of a raster", _raster_bands, _is_raster),
    Mutation("type of a raster", _raster_type, _is_raster),
    Mutation("scale of a raster", _raster_scale, _is_raster),
    Mutation("a mask that hides nothing", _raster_mask, _is_raster, True),
    Mutation("a raster upside down", _raster_upside_down, _is_raster, True),
    Mutation("ground control points", _raster_ground_points, _is_raster, True),
    Mutation("stored otherwise", lambda path, r: _rewrite(path, lambda *_: None, **_stored(r)), _is_raster, True),
    Mutation("as float64", lambda path, _: _rewrite(path, lambda v, _: v.astype(np.float64)), _is_raster, True),
    Mutation(
        "as int32",
        lambda path, _: _rewrite(path, lambda v, _: v.astype(np.int32)),
        lambda path: _is_raster(path) and path.stem[:4] in {"post", "geol"},
        True,
    ),
    Mutation("another driver", _other_driver, _is_raster, True),
]


def _frame(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path, layer=0)


def _save(frame: gpd.GeoDataFrame, path: Path) -> None:
    with (
        warnings.catch_warnings(),
        contextlib.suppress(pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError, ValueError),
    ):
        warnings.simplefilter("ignore")
        if path.suffix == ".parquet":
            frame.to_parquet(path)
            return
        driver = {".geojson": "GeoJSON", ".json": "GeoJSON"}.get(path.suffix)
        path.unlink()
        frame.to_file(path, **({"driver": driver} if driver else {}))


def _vector(change: Callable[[gpd.GeoDataFrame, Random], gpd.GeoDataFrame]) -> Callable[[Path, Random], None]:
    def changed(path: Path, random: Random) -> None:
        _save(change(_frame(path), random), path)

    return changed


def _moved(shape: shapely.Geometry, by: float) -> shapely.Geometry:
    """Give one vertex a coordinate that is no number; a ring whose ends it would part is taken as its boundary."""
    return shapely.transform(shape.boundary if shape.area else shape, lambda c: np.vstack([c[:-1], c[-1:] + by]))


def _geometry(frame: gpd.GeoDataFrame, random: Random) -> gpd.GeoDataFrame:
    first = frame.geometry.iloc[0]
    x, y = first.centroid.coords[0]
    bow = Polygon([(x, y), (x + 1e-3, y + 1e-3), (x + 1e-3, y), (x, y + 1e-3)])
    odd = (
        None, Polygon(), Point(x, y), first.boundary, GeometryCollection([first, Point(x, y)]), bow, MultiPolygon([bow, bow]),
        scale(first, 1e9, 1e9), scale(first, 1e-9, 1e-9), scale(first, 0, 1), _moved(first, np.nan),
        _moved(first, np.inf), shapely.transform(first, lambda c: c + np.array([360, 0])), shapely.transform(first, lambda c: c[:, ::-1]),
    )  # fmt: skip
    chosen, all_of_them = random.choice(odd), random.random() < 0.4
    geometry = list(frame.geometry)
    frame = frame.copy()
    frame["geometry" if "geometry" in frame else frame.geometry.name] = gpd.GeoSeries(
        [chosen if all_of_them or i == 0 else g for i, g in enumerate(geometry)], crs=frame.crs, index=frame.index
    )
    return frame


def _crs(frame: gpd.GeoDataFrame, random: Random) -> gpd.GeoDataFrame:
    code = random.choice((None, "EPSG:3857", "EPSG:32601", "EPSG:4978", "EPSG:2193", "EPSG:4979", "EPSG:9518"))
    return frame.set_crs(code, allow_override=True)


def _field(frame: gpd.GeoDataFrame, random: Random) -> gpd.GeoDataFrame:
    names = [name for name in frame.columns if name != frame.geometry.name]
    if not names:
        return frame
    name, value = random.choice(names), random.choice((None, math.nan, "text", -1, 1e300, "", True, "drop"))
    return frame.drop(columns=name) if value == "drop" else frame.assign(**{name: value})


def _many_vertices(frame: gpd.GeoDataFrame, _: Random) -> gpd.GeoDataFrame:
    step = max(frame.total_bounds[2:] - frame.total_bounds[:2]) / 2000
    return frame.set_geometry(frame.geometry.segmentize(step))


def _shuffled(frame: gpd.GeoDataFrame, random: Random) -> gpd.GeoDataFrame:
    return frame.sample(frac=1, random_state=random.randrange(1000))


_is_shuffled_alike = lambda path: _is_vector(path) and path.stem != "faults"  # noqa: E731
_not_kml = lambda path: _is_vector(path) and path.suffix not in {".kml", ".geojson"}  # noqa: E731
_VECTORS = [
    Mutation("geometry changed", _vector(_geometry), _is_vector),
    Mutation("CRS of a vector", _vector(_crs), _is_vector),
    Mutation("a field changed", _vector(_field), _is_vector),
    Mutation("no features", _vector(lambda frame, _: frame.iloc[:0]), _is_vector, True),
    Mutation("another CRS, the same place", _vector(lambda frame, _: frame.to_crs("EPSG:32655")), _not_kml, True),
    Mutation(
        "heights", _vector(lambda frame, _: frame.set_geometry(shapely.force_3d(frame.geometry, 5))), _is_vector, True
    ),
    Mutation(
        "rings the other way", _vector(lambda frame, _: frame.set_geometry(frame.geometry.reverse())), _is_vector, True
    ),
    Mutation("other order", _vector(_shuffled), _is_shuffled_alike, True),
    Mutation("many vertices", _vector(_many_vertices), _is_vector, True),
]


def _chip(path: Path, random: Random) -> None:
    with h5py.File(path, "r+") as file:
        (name,) = file
        values = file[name][:]
        del file[name]
        kind = random.choice(
            ("name", "shape", "nan", "text", "group", "complex", "empty", "link", "huge", "axes", "two")
        )
        if kind == "group":
            file.create_group(name)
        elif kind == "link":
            file[name] = h5py.ExternalLink("/dev/zero", "x")
        else:
            new = {
                "shape": values[:5],
                "nan": np.full(values.shape, np.nan),
                "text": np.array([b"a"] * 10),
                "complex": values.astype(complex),
                "empty": values[:0],
                "huge": values * 1e300,
                "axes": np.moveaxis(values, -1, 0),
            }.get(kind, values)
            file["other" if kind == "name" else name] = new
            if kind == "two":
                file["other"] = values


OF_FORMATS = (*_RASTERS, *_VECTORS, Mutation("a chip changed", _chip, _has(".h5")))
