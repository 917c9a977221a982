"""Sentinel-2 L2A products as ESA packs them (SAFE): lossless JPEG 2000 and the XML that describes it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.io.atomic import whole_output
from coslide.io.executor import available_processors
from coslide.simulate.acquisition import Acquisition
from coslide.simulate.safe_xml import Part, datastrip_xml, granule_xml, inspire_xml, manifest_xml, product_xml

NATIVE_M = {
    "B02": 10, "B03": 10, "B04": 10, "B08": 10,
    "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20, "SCL": 20,
    "B01": 60, "B09": 60,
}  # fmt: skip
"""Bands of L2A in the order in which a product lists them, and their cells in metres."""

_BLOCK_PX = {10: 1024, 20: 640, 60: 192}  # tiles of the JPEG 2000 of ESA
_CLASSES = 12


def write_safe(
    folder: Path, bands: Iterable[tuple[str, NDArray[np.unsignedinteger[Any]]]], seen: Acquisition, grid: GeoBox
) -> Path:
    """Return the SAFE folder of a product, written whole or not at all into `folder`; the same values, the same bytes.

    Parameters
    ----------
    folder
        Where the product is to lie; it is made if need be.
    bands
        Names of ESA (B02, B8A, SCL) with stored values, (row, col) at the cell size of `NATIVE_M`: uint16, with 0 for
        no data and 65535 for saturated, and uint8 for the classes of SCL. Taken one by one, so that a generator need
        hold only one.
    seen
        What the names and metadata say. Stored value = reflectance * 10000 - `Acquisition.offset_dn`.
    grid
        The ground: cells of 10 m, in UTM.

    Returns
    -------
    Path
        ``folder / seen.name``. It holds ``manifest.safe``, ``MTD_MSIL2A.xml``, ``INSPIRE.xml``, the bands with
        ``MTD_TL.xml`` under ``GRANULE`` and ``MTD_DS.xml`` under ``DATASTRIP``.

    Raises
    ------
    InputError
        If the product is there already or cannot be written.
    ValueError
        If a band has another name, type or shape, or `grid` other cells.

    Notes
    -----
    Elements and names follow the Sentinel-2 Products Specification Document (ESA, S2-PDGS-TAS-DI-PSD, issue 14). Left
    out: true colour, aerosol and water vapour, previews, quality masks and reports, grids of angles. The shares of
    classes, clouds among them, are counted in SCL; without it they are 0.
    """
    _require_grid(grid)
    granule = f"GRANULE/{seen.granule_folder}/MTD_TL.xml"
    counts = np.zeros(_CLASSES, dtype=np.int64)
    images = {}
    with whole_output(folder / seen.name) as part:
        for name, values in bands:
            _require_band(name, values, grid)
            cell_m = NATIVE_M[name]
            images[name] = seen.image(name, cell_m)
            affine = grid.affine * Affine.scale(cell_m / 10)
            write_jp2(
                part / f"{images[name]}.jp2", values, crs=str(grid.crs), transform=affine, block=_BLOCK_PX[cell_m]
            )
            if name == "SCL":
                counts = np.bincount(values.ravel(), minlength=_CLASSES)[:_CLASSES]
        ordered = {name: images[name] for name in NATIVE_M if name in images}
        _write_text(part / "MTD_MSIL2A.xml", product_xml(seen, grid, list(ordered.values()), counts))
        _write_text(part / granule, granule_xml(seen, grid, counts))
        _write_text(part / f"DATASTRIP/{seen.datastrip_folder}/MTD_DS.xml", datastrip_xml(seen))
        _write_text(part / "INSPIRE.xml", inspire_xml(seen, grid))
        _write_text(part / "manifest.safe", manifest_xml(seen, grid, _parts(part, seen, ordered)))
    return folder / seen.name


def write_jp2(
    path: Path, values: NDArray[np.unsignedinteger[Any]], *, crs: str | None, transform: Affine, block: int = 1024
) -> None:
    """Write an image of one band as lossless JPEG 2000; the same values, the same bytes, whatever the processors.

    Parameters
    ----------
    path
        File to write; folders above it are made.
    values
        (row, col), unsigned integers.
    crs, transform
        Where it lies.
    block
        Side of the tiles in cells.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO",
        "tiled": True, "blockxsize": block, "blockysize": block,
        "count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype,
    }  # fmt: skip
    # rasterio holds the interpreter's lock while a JPEG 2000 is coded, so the threads are those of the coder. It passes
    # the width of tiles on only with `tiled`, an option that this format lacks and GDAL would warn of.
    options = {"GDAL_NUM_THREADS": str(available_processors()), "GDAL_VALIDATE_CREATION_OPTIONS": "NO"}
    with rasterio.Env(**options), rasterio.open(path, "w", crs=crs, transform=transform, **profile) as file:
        file.write(values, 1)


def _require_grid(grid: GeoBox) -> None:
    affine = grid.affine
    if (affine.a, affine.b, affine.d, affine.e) != (10, 0, 0, -10):
        raise ValueError(f"grid: found {affine.a} x {affine.e} cells, expected 10 m, north up")


def _require_band(name: str, values: NDArray[Any], grid: GeoBox) -> None:
    if name not in NATIVE_M:
        raise ValueError(f"bands: found {name!r}, expected names such as {', '.join(NATIVE_M)}")
    dtype = "uint8" if name == "SCL" else "uint16"
    shape = tuple(side * 10 // NATIVE_M[name] for side in grid.shape)
    if values.dtype != dtype or values.shape != shape:
        raise ValueError(f"{name}: found {values.dtype} {values.shape}, expected {dtype} {shape}")


def _parts(folder: Path, seen: Acquisition, images: dict[str, str]) -> list[Part]:
    """Return what the manifest lists."""
    named = {
        "S2_Level-2A_Product_Metadata": "MTD_MSIL2A.xml",
        "INSPIRE_Metadata": "INSPIRE.xml",
        "S2_Level-2A_Datastrip1_Metadata": f"DATASTRIP/{seen.datastrip_folder}/MTD_DS.xml",
        "S2_Level-2A_Tile1_Metadata": f"GRANULE/{seen.granule_folder}/MTD_TL.xml",
    }
    for band, image in images.items():
        named[f"IMG_DATA_Band_{band}_{NATIVE_M[band]}m_Tile1_Data"] = f"{image}.jp2"
    return [Part.of(key, folder, href) for key, href in named.items()]


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
