"""Stored values of rasters: what is nodata by value, mask or alpha band, for every reader alike."""

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.windows import Window

from coslide.config.schema import DemConfig, GeologyConfig, SceneConfig
from coslide.errors import InputError
from coslide.io.raster import open_raster, read_coarse_raster
from coslide.io.stored import read_stored
from coslide.sources.bands import Band, locate_band
from coslide.sources.dem import open_elevation
from coslide.sources.geology import read_strata
from coslide.sources.sentinel2 import open_scene

GRID = GeoBox((30, 40), Affine(10, 0, 500000, 0, -10, 4700000), "EPSG:32654")
VALID = np.ones(GRID.shape, dtype=bool)
VALID[:, :10] = False
VALID[12:15, 20:23] = False
KINDS = ["inside", "beside", "alpha", "of a band"]


def write(path, values, *, mask=None, alpha=None, kind="inside", **profile):
    """Write one band, with a mask of uint8 or an alpha band where they are given."""
    bands = [values] if alpha is None else [values, alpha.astype(values.dtype)]
    options = {"driver": "GTiff", "count": len(bands), "dtype": values.dtype, "crs": GRID.crs.to_wkt()}
    options |= {"height": values.shape[0], "width": values.shape[1], "transform": GRID.affine} | profile
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "inside"), rasterio.open(path, "w", **options) as file:
        if alpha is not None:
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        file.write(np.stack(bands))
        if mask is not None:
            file.write_mask(mask)
    return path


def masked(folder, values, *, kind):
    """Write `values` that count only where `VALID` is; elsewhere nothing but the mask says so."""
    mask = np.where(VALID, 255, 0).astype(np.uint8)
    if kind == "alpha":
        return write(folder / "r.tif", values, alpha=mask)
    if kind != "of a band":
        return write(folder / "r.tif", values, mask=mask, kind=kind)
    write(folder / "values.tif", values)
    write(folder / "mask.tif", mask)
    source = "<SimpleSource><SourceFilename relativeToVRT='1'>{}</SourceFilename></SimpleSource>"
    kinds = {"u": "UInt16", "f": "Float32"}
    (folder / "r.vrt").write_text(
        f"<VRTDataset rasterXSize='40' rasterYSize='30'><SRS>EPSG:32654</SRS>"
        f"<GeoTransform>{', '.join(map(str, GRID.affine.to_gdal()))}</GeoTransform>"
        f"<VRTRasterBand band='1' dataType='{kinds[values.dtype.kind]}'>{source.format('values.tif')}"
        f"<MaskBand><VRTRasterBand dataType='Byte'>{source.format('mask.tif')}</VRTRasterBand></MaskBand>"
        "</VRTRasterBand></VRTDataset>"
    )
    return folder / "r.vrt"


def band(path):
    raster = locate_band(Band("B2", str(path), None, scale=1.0), of_product=False)
    return np.isfinite(raster.read(slice(0, 30), slice(0, 40)))


def classification(path):
    raster = locate_band(Band("SCL", str(path), None), of_product=False)
    return np.isfinite(raster.read(slice(0, 30), slice(0, 40)))


def dem(path):
    return np.isfinite(open_elevation(DemConfig(path=path, fill_voids_km2=0), GRID).elevation(GRID))


def coarse(path):
    return np.isfinite(read_coarse_raster(path, GRID).values)


def geology(path):
    return read_strata(GeologyConfig(path=path, ages=(700,)), GRID).codes == 1


@pytest.mark.parametrize("reader", [band, classification, dem, coarse, geology], ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_no_reader_takes_a_value_that_a_mask_leaves_out(tmp_path, kind, reader):
    path = masked(tmp_path, np.full(GRID.shape, 700, dtype=np.uint16), kind=kind)
    assert (reader(path) == VALID).all()


@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_a_value_where_the_mask_says_so(tmp_path, kind):
    path = masked(tmp_path, np.zeros(GRID.shape, dtype=np.uint16), kind=kind)
    assert (band(path) == VALID).all()


def test_a_mask_counts_beside_a_nodata_value_and_nan(tmp_path):
    values = np.full(GRID.shape, 5, dtype=np.float32)
    values[0, 20], values[1, 20] = -9999, np.nan
    path = write(tmp_path / "r.tif", values, mask=np.where(VALID, 255, 0).astype(np.uint8), nodata=-9999)
    expected = VALID.copy()
    expected[:2, 20] = False
    assert (band(path) == expected).all()


def test_a_band_that_the_event_names_is_no_alpha_band(tmp_path):
    """GDAL declares the fourth band of bytes to be an alpha band; water is black in the near infrared."""
    values = np.full((4, *GRID.shape), 90, dtype=np.uint8)
    values[3] = np.where(VALID, 90, 0)
    profile = {"driver": "GTiff", "count": 4, "dtype": "uint8", "height": 30, "width": 40, "crs": "EPSG:32654"}
    with rasterio.open(tmp_path / "r.tif", "w", transform=GRID.affine, **profile) as file:
        file.write(values)
        assert file.colorinterp[3] is ColorInterp.alpha
    bands = {name: {"path": tmp_path / "r.tif", "band": number} for name, number in (("B2", 1), ("B8", 4))}
    both = open_scene(SceneConfig(bands=bands), root=tmp_path)
    assert np.isfinite(both.reflectance("B2", GRID)).all()
    assert (both.reflectance("B8", GRID)[~VALID] == 0).all()
    one = open_scene(SceneConfig(bands={"B2": bands["B2"]}), root=tmp_path)
    assert (np.isfinite(one.reflectance("B2", GRID)) == VALID).all()


def test_a_raster_without_a_mask_is_decoded_once(tmp_path):
    class Counted:
        """An opened raster that tells how often it was read."""

        def __init__(self, dataset):
            self.dataset, self.reads = dataset, 0

        def __getattr__(self, name):
            self.reads += name in {"read", "read_masks"}
            return getattr(self.dataset, name)

    for nodata in (None, 0):
        with open_raster(write(tmp_path / "r.tif", np.ones(GRID.shape, np.uint8), nodata=nodata)) as dataset:
            counted = Counted(dataset)
            read_stored(counted, 1, Window(0, 0, 40, 30), invalid=[nodata])
            assert counted.reads == 1


def test_what_lossy_compression_makes_of_a_transparent_pixel_is_transparent(tmp_path):
    values = np.random.default_rng(0).integers(40, 220, (2, 256, 256)).astype(np.uint8)
    values[1] = 255
    values[:, :, :100] = 0
    path = write(tmp_path / "r.jp2", values[0], alpha=values[1], driver="JP2OpenJPEG", QUALITY=5)
    with rasterio.open(path) as file:
        assert 0 < file.read(2)[:, :100].max() < 128
    raster = locate_band(Band("B2", str(path), None, scale=1.0), of_product=False)
    assert (np.isfinite(raster.read(slice(0, 256), slice(0, 256))) == (values[1] == 255)).all()


def test_a_number_beyond_any_measure_is_nodata(tmp_path):
    values = np.full(GRID.shape, 5, dtype=np.float64)
    values[0, :5] = [3.4e38, -3.4028235e38, 1e300, np.inf, 1e29]
    path = write(tmp_path / "r.tif", values)
    assert coarse(path)[0, :6].tolist() == [False, False, False, False, True, True]


@pytest.mark.parametrize(("count", "found"), [(2, "holds 2 bands"), (3, "holds 3 bands")])
def test_more_than_one_band_of_data_is_refused(tmp_path, count, found):
    profile = {"driver": "GTiff", "count": count, "dtype": "uint16", "height": 4, "width": 4}
    with rasterio.open(tmp_path / "r.tif", "w", crs="EPSG:32654", transform=GRID.affine, **profile) as file:
        file.write(np.zeros((count, 4, 4), np.uint16))
    with pytest.raises(InputError, match=rf"r.tif: {found}; expected one"):
        coarse(tmp_path / "r.tif")


def test_complex_numbers_are_refused(tmp_path):
    path = write(tmp_path / "r.tif", np.ones(GRID.shape, np.complex64))
    with pytest.raises(InputError, match=r"r\.tif: found complex numbers"):
        coarse(path)
