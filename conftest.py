"""Fixtures: the folder of real data, and a small made-up event in the formats that real ones come in."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import geopandas as gpd
import h5py
import numpy as np
import pandas as pd
import pytest
import rasterio
from _pytest.doctest import DoctestItem
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_bounds
from shapely.geometry import LineString, Point, box

import coslide
from coslide.config.event import read_event
from coslide.pipeline.build import build_cube
from coslide.pipeline.labelled_scene import open_labelled_scene
from coslide.pipeline.run import run
from coslide.pipeline.train import fit_model

REPOSITORY = Path(__file__).resolve().parent
PIXELS = 96  # side of the made-up event, of 10 m
TILE = 32

EVENT_TOML = """
name = "Made-up earthquake"
id = "made-up"
credit = "made up"

[grid]
crs = "EPSG:32654"

[scenes.post]
scale = 1e-4
bands = { B2 = "post_B2.tif", B3 = "post_B3.tif", B4 = "post_B4.tif" }

[scenes.pre]
scale = 1e-4
bands = { B2 = "pre_B2.tif", B3 = "pre_B3.tif", B4 = "pre_B4.tif" }

[dem]
path = "dem.tif"

[shaking]
stations = "stations.csv"
unit = "%g"

[faults]
path = "faults.geojson"

[inventory]
path = "landslides.gpkg"
area = "area.gpkg"

[training]
width = 8
sampling = { tile = 32, stride = 24 }
split.block_windows = 1
optimiser = { epochs = 1, learning_rate = 1e-3 }
"""


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data (COSLIDE_DATA); skips without it, but never in CI."""
    folder = Path(os.environ.get("COSLIDE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"{folder} is not there; set COSLIDE_DATA")
    assert folder.is_dir(), f"{folder} must be there in CI"
    return folder


@pytest.fixture(scope="session")
def in_qgis(tmp_path_factory):
    """A function that runs a script by the Python that has QGIS, offscreen, and returns the JSON of its last line."""
    python = Path("/usr/bin/python3")
    known = python.exists() and not subprocess.run([python, "-c", "import qgis.core"], capture_output=True).returncode  # noqa: PLW1510, S603
    if not known:
        pytest.skip("QGIS is not installed")
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PROJ", "GDAL"))}
    own |= {"QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}

    def start(script, *arguments):
        command = [python, *(["-c", script] if isinstance(script, str) else [script]), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=own, timeout=300)  # noqa: S603
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return start


@pytest.fixture(scope="session", autouse=True)
def _single_precision():
    """Leave trials of bfloat16 to the tests of them: they decide by time, and two maps of one test must not differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coslide.networks.precision._WORTH", 0.0)
        yield


class _Messages(logging.Handler):
    """Keeps the messages of coslide in a list."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


@contextlib.contextmanager
def logged():
    """The list that all messages of coslide go to meanwhile."""
    logger, handler = logging.getLogger("coslide"), _Messages()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)


@pytest.fixture(scope="session")
def listen():
    """A context in which the messages of coslide are kept in a list."""
    return logged


@pytest.fixture
def listening():
    """A function that returns a new list, which all messages go to until the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(logged())


@pytest.fixture(scope="session")
def made_up_event(tmp_path_factory):
    """The event file of a made-up earthquake of about one square kilometre."""
    return write_event(tmp_path_factory.mktemp("event"))


@pytest.fixture(scope="session")
def event_writer():
    """The function that writes the made-up event into a folder, at another place if asked."""
    return write_event


@pytest.fixture(scope="session")
def chips_writer():
    """The function that writes made-up chips into a folder."""
    return write_chips


@pytest.fixture(scope="session")
def made_up_cube(made_up_event, tmp_path_factory):
    """The path of the made-up event's cube."""
    return build_cube(read_event(made_up_event), tmp_path_factory.mktemp("cube") / "index.zarr")


@pytest.fixture(scope="session")
def made_up_model(made_up_cube, made_up_event, tmp_path_factory):
    """The path of a bundle trained for one epoch on the made-up event."""
    out = tmp_path_factory.mktemp("run")
    fit_model([open_labelled_scene(made_up_cube)], out, read_event(made_up_event).training)
    return out / "model"


@pytest.fixture(scope="session")
def made_up_run(made_up_event, tmp_path_factory):
    """The folder of a run of the made-up event; tests that change it copy it."""
    return run(made_up_event, tmp_path_factory.mktemp("made-up") / "run")


@pytest.fixture(autouse=True)
def example_files(request):
    """The files that the examples of the public interface are about: of the made-up event, made when one asks."""
    if isinstance(request.node, DoctestItem) and request.node.name.rpartition(".")[2] in coslide.__all__:
        event_file, folder = request.getfixturevalue("made_up_event"), request.getfixturevalue("tmp_path")
        names = {"event_file": event_file, "folder": folder, "inventory": event_file.parent / "landslides.gpkg"}
        names |= {"index": request.getfixturevalue("made_up_cube"), "bundle": request.getfixturevalue("made_up_model")}
        request.getfixturevalue("doctest_namespace").update(names)


@pytest.fixture(scope="session")
def assert_same_map():
    """Check that two folders hold the same map: what every machine can promise, whatever kernels its libraries pick.

    Sums in another order differ in their last digits, and which order a library takes depends on the processor, the
    threads and the batch. So probabilities are within 1e-5, and a pixel is landslide in both or its probability lies
    within that of the threshold.
    """

    def check(one, other, within=1e-5):
        maps = []
        for folder in (one, other):
            with rasterio.open(folder / "probability.tif") as file:
                maps.append(file.read(1))
                threshold = float(file.tags()["threshold"])
        np.testing.assert_allclose(*maps, rtol=0, atol=within)
        near = np.abs(maps[0] - threshold) <= within
        np.testing.assert_array_equal((maps[0] >= threshold)[~near], (maps[1] >= threshold)[~near])
        if not near.any():
            areas = [gpd.read_parquet(folder / "landslides.parquet").geometry.union_all() for folder in (one, other)]
            assert areas[0].symmetric_difference(areas[1]).area == 0

    return check


@pytest.fixture
def small_disk(tmp_path):
    """Make real file systems of a few kB; needs the right to mount one."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = []

    def disk(size_kb):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = [mount, "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", folder]
        if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603
            pytest.skip("mounting is not allowed here")
        mounted.append(folder)
        return folder

    yield disk
    for folder in mounted:
        subprocess.run([unmount, "--lazy", folder], check=True)  # noqa: S603 - a log may still be open


def write_event(folder, *, left=575000.0):
    """Write a made-up event into `folder`: bright scars on slopes; no pre-event scene in the northern third."""
    to_degrees = Transformer.from_crs("EPSG:32654", "EPSG:4326", always_xy=True)
    bottom, side = 4730000.0, 10.0 * PIXELS
    west, south, east, north = to_degrees.transform_bounds(left, bottom, left + side, bottom + side)
    random = np.random.default_rng(0)
    scars = [
        box(left + x, bottom + y, left + x + 80, bottom + y + 60) for x, y in random.uniform(50, side - 150, (12, 2))
    ]
    crs = "EPSG:32654"
    gpd.GeoDataFrame({"ID": range(len(scars))}, geometry=scars, crs=crs).to_crs(4326).to_file(
        folder / "landslides.gpkg"
    )
    mapped = box(left - 100, bottom - 100, left + side + 100, bottom + 0.95 * side)
    gpd.GeoDataFrame({"id": [1]}, geometry=[mapped], crs=crs).to_file(folder / "area.gpkg")

    shape = (PIXELS + 6, PIXELS + 2)
    transform = from_bounds(west, south, east, north, shape[1], shape[0])
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    lon, lat = transform.c + (cols + 0.5) * transform.a, transform.f + (rows + 0.5) * transform.e
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    scar = np.zeros(shape, dtype=bool)
    for polygon in scars:
        minx, miny, maxx, maxy = polygon.bounds
        scar |= (x > minx) & (x < maxx) & (y > miny) & (y < maxy)
    for band, dark in (("B2", 900), ("B3", 800), ("B4", 700)):
        noise = random.normal(0, 30, shape)
        _write_raster(folder / f"post_{band}.tif", np.where(scar, 2 * dark, dark) + noise, transform, nodata=0)
        pre = np.where(rows < shape[0] // 3, 0, dark + noise)
        _write_raster(folder / f"pre_{band}.tif", pre, transform, nodata=0)
    hills = 200 + 60 * np.sin((x - left) / 120) * np.cos((y - bottom) / 150)
    _write_raster(folder / "dem.tif", hills, transform, dtype="int16", nodata=-32768)

    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    stations = {"lon": west + 0.1 * np.cos(angles), "lat": south + 0.1 * np.sin(angles), "pga": 20 + 5 * np.cos(angles)}
    pd.DataFrame(stations).to_csv(folder / "stations.csv", index=False)
    trace = LineString([(left - 3000, bottom), (left - 500, bottom + side)])
    gpd.GeoDataFrame(geometry=[trace], crs=crs).to_crs(4326).to_file(folder / "faults.geojson", driver="GeoJSON")
    gpd.GeoDataFrame(geometry=[Point(west, south)], crs=4326).to_file(folder / "points.geojson", driver="GeoJSON")
    (folder / "event.toml").write_text(EVENT_TOML)
    return folder / "event.toml"


def _write_raster(path, values, transform, *, nodata, dtype="uint16"):
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": dtype}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=transform, nodata=nodata, **profile) as file:
        file.write(np.rint(values).astype(dtype), 1)


CHIPS_TOML = """
name = "Made-up chips"
images = "img/{{id}}{form}"
masks = "lab/{{id}}{form}"
bands = ["reflectance_post_B4", "reflectance_post_B3", "reflectance_post_B2"]
pixel_size_m = 10
licence = "CC0"
attribution = "nobody"
"""


def write_chips(folder, places, *, form=".png", side=32, keys="", table='event = "event"\nrow = "row"\ncol = "col"'):
    """Write chips in 8 bits, landslide where red is bright; `places` has ``event,row,col`` and maybe a factor for each.

    Returns the description and, by id, the stored images (band, row, col) and masks.
    """
    random, stored = np.random.default_rng(5), {}
    for name in ("img", "lab"):
        (folder / name).mkdir(parents=True)
    lines = ["id,event,row,col,factor"]
    for number, line in enumerate(places, start=1):
        image = random.integers(40, 60, (3, side, side)).astype(np.uint8)
        mask = np.zeros((side, side), dtype=np.uint8)
        mask[side // 4 : side // 2, side // 4 :] = 1
        image[0] += 100 * mask
        stored[str(number)] = image, mask
        for name, values in (("img", image), ("lab", mask[np.newaxis])):
            write_chip(folder / name / f"{number}{form}", values)
        lines.append(f"{number},{line}{'' if line.count(',') == 3 else ',1'}")
    (folder / "chips.csv").write_text("\n".join(lines))
    of_hdf5 = 'image_dataset = "values"\nmask_dataset = "values"\n' if form == ".h5" else ""
    of_table = f'[table]\npath = "chips.csv"\n{table}\n' if table else ""
    path = folder / "chips.toml"
    path.write_text(CHIPS_TOML.format(form=form) + of_hdf5 + keys + of_table)
    return path, stored


def write_chip(path, values):
    """Write an array (band, row, col) in the format of its suffix."""
    if path.suffix in {".png", ".tif"}:
        shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", driver="PNG" if path.suffix == ".png" else "GTiff", **shape) as file:
                file.write(values)
    elif path.suffix == ".npy":
        np.save(path, values.transpose(1, 2, 0))
    else:
        with h5py.File(path, "w") as file:
            file["values"] = values.transpose(1, 2, 0)
