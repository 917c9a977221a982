"""Small valid inputs of every format that coslide reads, each with the command that reads it.

They are made once and kept: `make_corpus` gives what a folder already holds if it is of the same code.
"""

import hashlib
import importlib.util
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import h5py
import numpy as np
import pandas as pd
import rasterio
from pyproj import Transformer
from rasterio.transform import from_bounds
from shapely.geometry import box

REPOSITORY = Path(__file__).resolve().parents[2]
LEFT, BOTTOM, SIDE = 575000.0, 4730000.0, 960.0  # of the made-up event, EPSG:32654
CRS = "EPSG:32654"
SAFE = {"left": 574980.0, "top": 4731000.0}
SCENE_LAYERS = ("reflectance", "ndvi", "valid", "pre_available")
TERRAIN_LAYERS = ("elevation", "slope", "aspect", "mean_curvature", "dem_void", "valid")
RASTER_EVENT = """
name = "Made-up earthquake"
time_utc = 2018-09-05T18:07:59Z
[grid]
crs = "EPSG:32654"
[scenes.post]
scale = 1e-4
bands = {{ B2 = "post_B2.tif", B3 = "post_B3.tif", B4 = "post_B4.tif" }}
[dem]
path = "dem.tif"
{section}
"""
PRODUCT_EVENT = """
name = "Made-up earthquake"
[scenes.post]
products = ["{product}"]
bands = ["B2", "B4", "B8"]
[dem]
path = "dem.tif"
"""


class Subject(NamedTuple):
    """A format: the folder to copy, the words of the command, the files to mutate, and how to judge what comes out."""

    format: str
    folder: Path
    command: tuple[str, ...]
    victims: tuple[str, ...]  # patterns inside the folder
    result: str = "cube"  # what is compared with the result of the valid input: cube, map, json or nothing
    touched: tuple[str, ...] = ()  # beginnings of the variables that may change; none: all may


class _Section(NamedTuple):
    """A format whose file belongs to one section of an event."""

    format: str
    section: str
    files: tuple[str, ...]
    touched: tuple[str, ...]


_SHAKING, _INVENTORY = ("pga",), ("landslide",)
_VECTORS = ("gpkg", "shp", "geojson", "kml", "parquet", "fgb")
_FILES_OF = {"shp": ("shp", "dbf", "shx", "prj", "cpg")}
_SECTIONS = (
    _Section("bands", "", ("post_B*.tif",), ()),
    _Section("dem", "", ("dem.tif",), ()),
    _Section(
        "geology-vector",
        '[geology]\npath = "geology.gpkg"\nfield = "age"\nages = ["A", "B", "C"]',
        ("geology.gpkg",),
        ("stratum",),
    ),
    _Section("geology-raster", '[geology]\npath = "geology.tif"\nages = [1, 2, 3]', ("geology.tif",), ("stratum",)),
    _Section("gauges", '[rain]\ngauges = "gauges.csv"\nunit = "mm"', ("gauges.csv",), ("rainfall",)),
    _Section("rain-raster", '[rain]\nraster = "rain.tif"\nunit = "mm"', ("rain.tif",), ("rainfall",)),
    _Section("stations", '[shaking]\nstations = "stations.csv"\nunit = "%g"', ("stations.csv",), _SHAKING),
    _Section("shakemap", '[shaking]\nshakemap = "grid.xml"', ("grid.xml",), _SHAKING),
    _Section("shaking-raster", '[shaking]\nraster = "pga.tif"\nunit = "%g"', ("pga.tif",), _SHAKING),
    _Section(
        "shaking-flt", '[shaking]\nraster = "pga.flt"\nunit = "%g"\ncrs = "EPSG:4326"', ("pga.flt", "pga.hdr"), _SHAKING
    ),
    _Section(
        "contours-shp",
        '[shaking]\ncontours = "pga.shp"\ncontour_field = "value"\nunit = "%g"',
        ("pga.shp", "pga.dbf", "pga.shx", "pga.prj", "pga.cpg"),
        _SHAKING,
    ),
    _Section("contours", '[shaking]\ncontours = "cont_pga.json"\nunit = "%g"', ("cont_pga.json",), _SHAKING),
    _Section("faults", '[faults]\npath = "faults.geojson"', ("faults.geojson",), ("fault",)),
    *(
        _Section(
            f"inventory-{kind}",
            f'[inventory]\npath = "inventory.{kind}"\narea = "area.gpkg"',
            (
                *(f"inventory.{part}" for part in _FILES_OF.get(kind, (kind,))),
                *(("area.gpkg",) if kind == "gpkg" else ()),
            ),
            _INVENTORY,
        )
        for kind in _VECTORS
    ),
)


def make_corpus(folder: Path, run: Callable[[tuple[str, ...], Path], None]) -> list[Subject]:
    """Make the inputs, or take those that `folder` holds of the same code.

    Parameters
    ----------
    folder
        Where they lie; what is there of other code is removed.
    run
        Runs a command of coslide in a folder, and fails if it does.
    """
    files = [*sorted((REPOSITORY / "src" / "coslide").rglob("*.py")), Path(__file__), REPOSITORY / "conftest.py"]
    code = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    stamp = folder / "code"
    (folder / "references").mkdir(parents=True, exist_ok=True)
    if not stamp.is_file() or stamp.read_text() != code:
        shutil.rmtree(folder, ignore_errors=True)
        event = folder / "event"
        event.mkdir(parents=True)
        (folder / "references").mkdir()
        write_event(event)
        _write_sources(event)
        _write_products(event)
        _trained(folder, event, run)
        for name, names, text in _events():
            _subject_folder(folder / name, event, names, text)
        for seed, name in enumerate(("chips", "other")):
            _write_chips(folder / "chips" / name, seed)
        _write_described_chips(folder / "described")
        stamp.write_text(code)
    return _subjects(folder)


def write_event(folder: Path) -> None:
    """Write the made-up event of the tests into a folder."""
    _module(REPOSITORY / "conftest.py").write_event(folder)


def _events() -> list[tuple[str, tuple[str, ...], str]]:
    scene = ("post_B*.tif", "dem.tif")
    own = [
        (
            part.format,
            (*scene, *part.files, *(("area.gpkg",) if "area.gpkg" in part.section else ())),
            RASTER_EVENT.format(section=part.section),
        )
        for part in _SECTIONS
    ]
    products = {"safe": "*.SAFE", "cogs": "cogs", "stac": "item.json"}
    for name, pattern in products.items():
        names = ("dem.tif", pattern) if name != "stac" else ("dem.tif", "item.json", "cogs")
        own.append((name, names, PRODUCT_EVENT))
    return own


def _subject_folder(folder: Path, event: Path, names: tuple[str, ...], text: str) -> None:
    folder.mkdir()
    for pattern in names:
        for path in event.glob(pattern):
            if path.is_dir():
                shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
            else:
                shutil.copy(path, folder)
    product = next((p.name for p in [*folder.glob("item.json"), *folder.glob("*.SAFE"), *folder.glob("cogs")]), "")
    (folder / "event.toml").write_text(text.format(product=product) if text is PRODUCT_EVENT else text)


def _subjects(folder: Path) -> list[Subject]:
    build = ("build", "event.toml", "--out", "out.zarr")
    subjects = [
        Subject(part.format, folder / part.format, build, part.files, "cube", part.touched) for part in _SECTIONS
    ]
    subjects += [
        Subject("event-toml", folder / "event", build, ("event.toml",)),
        Subject("safe", folder / "safe", build, ("*.SAFE/**/*",)),
        Subject("cogs", folder / "cogs", build, ("cogs/*",)),
        Subject("stac", folder / "stac", build, ("item.json",)),
        Subject(
            "cube",
            folder / "trained",
            ("cube", "index.zarr", "--out", "out.png", "--json"),
            ("index.zarr/**/*",),
            "json",
        ),
        Subject(
            "cube-map",
            folder / "trained",
            ("map", "run/model", "index.zarr", "--out", "out"),
            ("index.zarr/**/*",),
            "map",
        ),
        Subject(
            "cube-build",
            folder / "trained",
            ("build", "event.toml", "--out", "index.zarr"),
            ("index.zarr/**/*",),
            "own cube",
        ),
        Subject(
            "bundle", folder / "trained", ("map", "run/model", "index.zarr", "--out", "out"), ("run/model/*",), "map"
        ),
        Subject(
            "run-evaluate",
            folder / "trained",
            (
                "evaluate",
                "run",
                "--inventory",
                "landslides.gpkg",
                "--area",
                "area.gpkg",
                "--grid",
                "index.zarr",
                "--json",
            ),
            (
                "run/probability.tif",
                "run/*.json",
                "run/*.gpkg",
                "run/*.parquet",
                "run/model/*",
                "run/splits/*",
                "landslides.gpkg",
            ),
            "json",
        ),
        Subject("run-report", folder / "trained", ("report", "run"), ("run/*", "run/model/*", "run/training/*"), ""),
        Subject(
            "checkpoint",
            folder / "trained",
            ("train", "index.zarr", "--out", "run", "--no-baselines", "--resume", "--json"),
            ("run/training/*", "run/*.json", "run/model/*"),
            "",
        ),
        Subject(
            "landslide4sense",
            folder / "chips",
            ("train", "chips", "--test-on", "other", "--out", "out", "--no-baselines", "--epochs", "1", "--width", "8"),
            ("chips/*/*.h5",),
            "",
        ),
        Subject(
            "chips",
            folder / "described",
            (
                *("train", "chips.toml#east", "--test-on", "chips.toml#west", "--out", "out", "--no-baselines"),
                *("--epochs", "1", "--width", "8", "--tile", "64", "--stride", "48", "--set", "inputs.normalise=event"),
            ),
            ("chips.toml", "chips.csv", "images/*", "masks/*"),
            "",
        ),
    ]
    return subjects


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _write_sources(event: Path) -> None:
    """Write geology, rain, shaking and inventories of other formats beside the made-up event."""
    west, south, east, north = Transformer.from_crs(CRS, 4326, always_xy=True).transform_bounds(
        LEFT - 200, BOTTOM - 200, LEFT + SIDE + 200, BOTTOM + SIDE + 200
    )
    strips = [box(LEFT - 300 + 520 * i, BOTTOM - 300, LEFT + 220 + 520 * i, BOTTOM + SIDE + 300) for i in range(3)]
    gpd.GeoDataFrame({"age": list("ABC")}, geometry=strips, crs=CRS).to_file(event / "geology.gpkg")
    place = {"crs": CRS, "transform": from_bounds(LEFT - 300, BOTTOM - 300, LEFT + 1200, BOTTOM + 1200, 50, 50)}
    codes = np.repeat(np.repeat([[1, 2, 3]], 50, 0), [17, 17, 16], 1).astype(np.uint8)
    _raster(event / "geology.tif", codes, **place)
    rows, cols = np.mgrid[:50, :50]
    _raster(event / "rain.tif", (60 + rows / 5).astype(np.float32), **place)
    degrees = {
        "crs": "EPSG:4326",
        "transform": from_bounds(west - 0.01, south - 0.01, east + 0.01, north + 0.01, 50, 50),
    }
    shaken = (20 + cols / 10).astype(np.float32)
    _raster(event / "pga.tif", shaken, **degrees)
    _raster(event / "pga.flt", shaken, driver="EHdr", **degrees)
    random = np.random.default_rng(1)
    lon, lat = random.uniform(west - 0.05, east + 0.05, 12), random.uniform(south - 0.05, north + 0.05, 12)
    pd.DataFrame({"lon": lon, "lat": lat, "rain": np.linspace(50, 61, 12).round(1)}).to_csv(
        event / "gauges.csv", index=False
    )
    _write_shakemap(event / "grid.xml", west - 0.05, south - 0.05)
    rings = [box(west - 0.02 + d, south - 0.02 + d, east + 0.02 - d, north + 0.02 - d) for d in (0, 0.005, 0.021)]
    contours = gpd.GeoDataFrame({"value": [18.0, 20.0, 24.0]}, geometry=rings, crs=4326)
    contours.to_file(event / "cont_pga.json", driver="GeoJSON")
    contours.to_file(event / "pga.shp", encoding="UTF-8")
    slides = gpd.read_file(event / "landslides.gpkg")
    for kind in _VECTORS:
        path = event / f"inventory.{kind}"
        slides.to_parquet(path) if kind == "parquet" else slides.to_file(path, driver="KML" if kind == "kml" else None)


def _write_shakemap(path: Path, west: float, south: float) -> None:
    rows, cols, step = 12, 14, 0.01
    lines = [
        f"{west + col * step:.4f} {south + (rows - 1 - row) * step:.4f} {20 + col / 2 + row / 4:.2f} 0.4"
        for row in range(rows)
        for col in range(cols)
    ]
    names = (("LON", "dd"), ("LAT", "dd"), ("PGA", "pctg"), ("STDPGA", "ln(pctg)"))
    fields = "".join(f'<grid_field index="{i}" name="{n}" units="{u}" />\n' for i, (n, u) in enumerate(names, 1))
    ends = f'lon_min="{west:.4f}" lat_min="{south:.4f}" lon_max="{west + (cols - 1) * step:.4f}" lat_max="{south + (rows - 1) * step:.4f}"'
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<shakemap_grid xmlns="http://earthquake.usgs.gov/eqcenter/shakemap" '
        'event_id="made" shakemap_id="made" shakemap_version="1" map_status="RELEASED">\n<event magnitude="6.5" />\n'
        f'<grid_specification {ends} nlon="{cols}" nlat="{rows}" />\n{fields}<grid_data>\n'
        + "\n".join(lines)
        + "\n</grid_data>\n</shakemap_grid>\n"
    )


def _write_products(event: Path) -> None:
    """Write the scene as a SAFE folder, as a folder of GeoTIFF and as a STAC item."""
    files = _module(REPOSITORY / "tests" / "sources" / "safe_files.py")
    random = np.random.default_rng(2)
    sizes = {"B02": 10, "B04": 10, "B08": 10, "SCL": 20}
    stored = {
        name: np.full((1200 // size,) * 2, 4, np.uint8)
        if name == "SCL"
        else random.integers(1500, 4000, (1200 // size,) * 2).astype(np.uint16)
        for name, size in sizes.items()
    }
    files.write_safe(event, stored, **SAFE)
    assets = {}
    for name, values in stored.items():
        tags = {} if name == "SCL" else {"scale": 1e-4, "offset": -0.1}
        files.write_image(event / "cogs" / f"{name}.tif", values, crs=CRS, size=sizes[name], **SAFE, **tags)
        assets[name] = {
            "href": f"cogs/{name}.tif",
            "type": "image/tiff; application=geotiff",
            "eo:bands": [{"name": name}],
        }
        if tags:
            assets[name]["raster:bands"] = [{"scale": 1e-4, "offset": -0.1, "nodata": 0}]
    said = {"datetime": "2018-09-11T01:26:51Z", "s2:processing_baseline": "05.09", "grid:code": "MGRS-54TWN"}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "item", "geometry": None, "properties": said, "links": []}
    (event / "item.json").write_text(json.dumps({**item, "assets": assets}, indent=1))


def _trained(folder: Path, event: Path, run: Callable[[tuple[str, ...], Path], None]) -> None:
    """Build, train, map and score the made-up event, the smallest run there is."""
    trained = folder / "trained"
    trained.mkdir()
    for pattern in (
        "post_*",
        "pre_*",
        "dem.tif",
        "stations.csv",
        "faults.geojson",
        "landslides.gpkg",
        "area.gpkg",
        "event.toml",
    ):
        for path in event.glob(pattern):
            shutil.copy(path, trained)
    run(("run", "event.toml", "--out", "run"), trained)
    shutil.move(trained / "run" / "index.zarr", trained / "index.zarr")
    shutil.rmtree(trained / "run" / "training" / "tensorboard", ignore_errors=True)


def _write_chips(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    for number in range(1, 5):
        mask = np.zeros((128, 128), np.uint8)
        mask[20:60, 30 : 40 + 10 * number] = 1
        image = random.normal(1, 0.1, (128, 128, 14)) + mask[..., None]
        for place, stem, name, values in (("img", "image", "img", image), ("mask", "mask", "mask", mask)):
            (folder / place).mkdir(parents=True, exist_ok=True)
            with h5py.File(folder / place / f"{stem}_{number}.h5", "w") as file:
                file.create_dataset(name, data=values, compression="gzip")


def _write_described_chips(folder: Path) -> None:
    """Write chips of two events that lie side by side, as pictures of 8 bits with a table."""
    random, side = np.random.default_rng(3), 64
    rows = []
    for number, (event, row, col) in enumerate(
        (event, row, col) for event in ("east", "west") for row in (0, 1) for col in (0, 1)
    ):
        mask = np.zeros((side, side), np.uint8)
        mask[10:40, 20 : 30 + 4 * number] = 1
        image = random.normal(60, 12, (3, side, side)) + 50 * mask
        for place, values in (("images", image.clip(1, 255).astype(np.uint8)), ("masks", mask[None])):
            (folder / place).mkdir(parents=True, exist_ok=True)
            shape = {"height": side, "width": side, "count": len(values), "dtype": "uint8"}
            with (
                warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning),
                rasterio.open(folder / place / f"{number}.png", "w", driver="PNG", **shape) as file,
            ):
                file.write(values)
        rows.append({"id": number, "event": event, "row": row * side, "col": col * side})
    pd.DataFrame(rows).to_csv(folder / "chips.csv", index=False)
    (folder / "chips.toml").write_text(
        'name = "Chips"\nimages = "images/{id}.png"\nmasks = "masks/{id}.png"\n'
        'bands = ["reflectance_post_B4", "reflectance_post_B3", "reflectance_post_B2"]\nunit = "relative"\n'
        'pixel_size_m = 10\n[table]\npath = "chips.csv"\nevent = "event"\nrow = "row"\ncol = "col"\n'
    )


def _raster(path: Path, values: np.ndarray, *, driver: str = "GTiff", **place) -> None:
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype}
    with rasterio.open(path, "w", driver=driver, **shape, **place) as file:
        file.write(values, 1)
