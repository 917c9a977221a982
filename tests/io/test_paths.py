import os
import signal
import socket

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

from coslide.config.event import read_event
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.io.atomic import sha256
from coslide.io.paths import file_exists, require_regular_file, with_sidecar_files
from coslide.io.raster import open_raster
from coslide.io.table import read_table
from coslide.io.vector import holds_layers, read_vector
from coslide.mapping.inventory import read_inventory
from coslide.mapping.metadata import load_metadata
from coslide.sources.documents import read_xml

CRS = "EPSG:32654"


@pytest.fixture(autouse=True)
def _a_hang_ends():
    signal.alarm(20)  # the default action ends the process, whatever library waits
    yield
    signal.alarm(0)


def fifo(path):
    os.mkfifo(path)
    return path


def raster(path, **more):
    options = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "uint8", "crs": CRS}
    with rasterio.open(path, "w", transform=from_origin(0, 40, 10, 10), **options | more) as file:
        file.write(np.ones((1, 4, 4), np.uint8))
    return path


def squares(path, **more):
    gpd.GeoDataFrame({"age": ["T1"]}, geometry=[box(0, 0, 9, 9)], crs=CRS).to_file(path, **more)
    return path


def vrt(path, source):
    band = f'<SimpleSource><SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
    path.write_text(
        f'<VRTDataset rasterXSize="4" rasterYSize="4"><SRS>{CRS}</SRS><GeoTransform>0, 10, 0, 40, 0, -10'
        f'</GeoTransform><VRTRasterBand dataType="Byte" band="1">{band}</SimpleSource></VRTRasterBand></VRTDataset>'
    )
    return path


def read_raster(path):
    with open_raster(path) as dataset:
        return dataset.read()


def read_features(path):
    return read_vector(path, CRS, what="units")


def test_what_is_no_file_is_told_by_its_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    (tmp_path / "link").symlink_to("/dev/zero")
    kinds = {
        fifo(tmp_path / "fifo"): "a FIFO",
        tmp_path / "socket": "a socket",
        tmp_path / "link": "a device",
        tmp_path: "a folder",
        tmp_path / "../../../../../../../../proc/kmsg": "a (file of the kernel|device)",
    }
    for path, kind in kinds.items():
        with pytest.raises(InputError, match=f"is {kind}.*; expected a file$"):
            require_regular_file(path)
    listener.close()


def test_a_file_a_link_to_one_and_a_missing_file_are_left_to_the_reader(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    require_regular_file(*(tmp_path / name for name in ("file", "link", "dangling", "missing", "file/below", "a\0b")))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("dem.tif", read_raster),
        ("units.gpkg", read_features),
        ("units.parquet", read_features),
        ("units.geojson", holds_layers),
        ("gauges.csv", lambda path: read_table(path, [], numbers=[])),
        ("grid.xml", read_xml),
        ("event.toml", read_event),
        ("landslides.parquet", lambda path: read_inventory(path.parent)),
        ("model.json", lambda path: load_metadata(path.parent)),
        (".zattrs", lambda path: open_cube(path.parent)),
    ],
)
def test_every_reader_refuses_a_fifo(tmp_path, name, read):
    fifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: is a FIFO"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["units.dbf", "units.PRJ", "units.cpg", "units.shp.aux.xml"])
def test_a_fifo_beside_a_shapefile_is_refused(tmp_path, name):
    path = squares(tmp_path / "units.shp")
    (tmp_path / name.lower()).unlink(missing_ok=True)
    fifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: is a FIFO"):
        read_features(path)


@pytest.mark.parametrize("name", ["dem.tif.aux.xml", "dem.tfw", "dem.tif.msk", "dem.tif.ovr", "dem.tab"])
def test_a_fifo_beside_a_raster_is_refused(tmp_path, name):
    path = raster(tmp_path / "dem.tif")
    fifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: is a FIFO"):
        read_raster(path)


def test_a_fifo_behind_a_vrt_of_a_vrt_is_refused(tmp_path):
    fifo(tmp_path / "dem.tif")
    vrt(tmp_path / "inner.vrt", "dem.tif")
    with pytest.raises(InputError, match=r"dem\.tif: is a FIFO"):
        read_raster(vrt(tmp_path / "outer.vrt", "inner.vrt"))


def test_a_vrt_of_itself_comes_to_an_end(tmp_path):
    with pytest.raises(InputError):
        read_raster(vrt(tmp_path / "dem.vrt", "dem.vrt"))


def test_a_fifo_in_a_file_geodatabase_is_refused(tmp_path):
    path = squares(tmp_path / "units.gdb", driver="OpenFileGDB")
    fifo(path / "a00000001.gdbindexes.x")
    with pytest.raises(InputError, match=r"is a FIFO"):
        read_features(path)


def test_the_event_file_is_refused_with_the_key_of_what_is_no_file(tmp_path):
    fifo(tmp_path / "faults.shp")
    (tmp_path / "dem.tif").touch()
    (tmp_path / "event.toml").write_text(
        'name = "e"\n[scenes.post]\nbands = { B4 = "dem.tif" }\nscale = 1\n'
        '[dem]\npath = "dem.tif"\n[faults]\npath = "faults.shp"\n'
    )
    with pytest.raises(InputError, match=r"event\.toml: faults\.path: .*faults\.shp: is a FIFO"):
        read_event(tmp_path / "event.toml")


@pytest.mark.parametrize(
    ("source", "beside"),
    [
        ("a.gpkg", "a.gpkg-wal a.gpkg-journal"),
        ("a.TAB", "a.DAT a.MAP a.ID a.IND"),
        ("a.mif", "a.mid"),
        ("a.shp", "a.DBF a.shx a.prj a.cpg a.qpj a.sbn"),
        ("a.gml", "a.gfs a.xsd"),
        ("a.img", "a.ige a.rrd a.img.aux.xml"),
        ("a.tif", "a.tfw a.TIFW a.wld a.tif.ovr a.tif.msk a.aux a.tif.AUX.XML a.tab"),
        ("a.jp2", "a.j2w"),
        ("a.bil", "a.hdr a.blw a.stx a.clr"),
        ("a", "a.hdr"),
    ],
)
def test_what_belongs_to_a_source_is_found_whatever_its_case(tmp_path, source, beside):
    for name in (source, *beside.split(), "a.txt", "a.gpkg-shm", "other.dbf", "b.wld"):
        (tmp_path / name).write_text("x")
    found = [file.name for file in with_sidecar_files(tmp_path / source)]
    assert found[0] == source
    assert sorted(found[1:]) == sorted(beside.split())


def test_what_gdal_lists_for_a_raster_belongs_to_it(tmp_path):
    path = raster(tmp_path / "dem.rst", driver="RST")
    assert {file.name for file in with_sidecar_files(path)} >= {"dem.rst", "dem.rdc"}


def test_an_empty_log_of_a_database_is_no_change(tmp_path):
    for name in ("a.gpkg", "a.gpkg-wal"):
        (tmp_path / name).touch()
    assert with_sidecar_files(tmp_path / "a.gpkg") == (tmp_path / "a.gpkg",)


def test_a_change_inside_a_file_geodatabase_is_a_change_of_the_source(tmp_path):
    path = squares(tmp_path / "units.gdb", driver="OpenFileGDB")
    (before,) = map(sha256, with_sidecar_files(path))
    table = next(path.glob("a0000000a.gdbtable"), None) or max(path.glob("*.gdbtable"))
    table.write_bytes(table.read_bytes() + b"x")
    assert [sha256(file) for file in with_sidecar_files(path)] != [before]


def test_a_name_that_cannot_be_looked_at_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot be looked at \(File name too long\); expected a file$"):
        file_exists(tmp_path / ("a" * 300))
