"""A random sample of places of a map for people to label: points, pictures, and a page to label them on."""

import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field, PositiveInt, model_validator
from shapely.geometry import Point

from coslide.config.records import StrictModel, read_record, require
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.strata import STRATA, allocate, draw_places, strata_of
from coslide.io.atomic import sha256, whole_output, write_json
from coslide.io.outputs import output_folder
from coslide.io.paths import folder_exists
from coslide.io.qgis import write_layer_style
from coslide.mapping.probability_map import PROBABILITY, ProbabilityMap, read_probability_map
from coslide.pipeline.evaluate import require_grid
from coslide.progress import report_progress
from coslide.report.page import render
from coslide.report.places import PlacePictures
from coslide.samples.footprint import is_held_out

_log = logging.getLogger(__name__)

DESIGN, POINTS, PAGE = "strata.json", "sample.gpkg", "label.html"
LABELS = ("landslide", "no landslide", "cannot tell")
_LEAST, _MOST = 40, 2000
_DOUBTFUL, _NEAR_PX = 0.25, 5


class Place(StrictModel):
    """A pixel that is to be labelled."""

    id: str
    """Its name: the beginning of the hash of the map, row and column."""
    row: int = Field(ge=0)
    """From the north."""
    col: int = Field(ge=0)
    """From the west."""
    stratum: int = Field(ge=1, le=len(STRATA))
    """Number of its stratum."""


class Stratum(StrictModel):
    """A part of the map that has its own sample."""

    number: int = Field(ge=1, le=len(STRATA))
    """In the column `stratum` of the points."""
    name: str
    """`landslide` (mapped), `doubtful` (not far below the threshold), `near` (a mapped landslide) or `background`."""
    pixels: int = Field(ge=0)
    """How many there are."""
    probability_mean: float | None = Field(ge=0, le=1)
    """Mean probability, the share of landslide that was anticipated; null without a pixel."""
    places: int = Field(ge=0)
    """How many of them are to be labelled."""


class SampleDesign(StrictModel):
    """How a sample was drawn: ``strata.json``."""

    map_sha256: str
    """Hash of ``probability.tif``: labels are of this map alone."""
    seed: int = Field(ge=0)
    """Of the draw; with the same one a sample that is at least a tenth larger holds the smaller one."""
    threshold: float = Field(gt=0, le=1)
    """Probability from which a pixel is landslide in the map."""
    doubtful_from: float = Field(gt=0, le=1)
    """Probability from which a pixel below the threshold is doubtful."""
    near_px: PositiveInt
    """How far from a mapped landslide a pixel is near it."""
    pixel_size_m: float = Field(gt=0)
    """Side of a pixel."""
    strata: list[Stratum]
    """All of them, in the order of their numbers."""
    places: list[Place]
    """In the order in which they are to be labelled, which is random."""

    @model_validator(mode="after")
    def _agrees(self) -> "SampleDesign":
        names = tuple(one.name for one in self.strata)
        require(names == STRATA, f"strata: found {', '.join(names)}, expected {', '.join(STRATA)}")
        require(len({one.id for one in self.places}) == len(self.places), "places: found an id twice")
        return self


def sample(
    folder: Path | str,
    *,
    n: int = 200,
    seed: int = 0,
    index: Path | str | None = None,
    out: Path | str | None = None,
) -> Path:
    """Draw a stratified random sample of the pixels of a map, to be labelled by people, into ``folder/sample``.

    Leaves ``sample.gpkg`` (points with an empty column ``label``), ``label.html`` (the same to label in a browser, by
    keys), ``pictures/`` (each place before and after) and ``strata.json``, as described in `docs/assessment.md`.
    `coslide.assess` takes the labels.

    Parameters
    ----------
    folder
        Of a map. Pixels that its model was trained on, or that chose its threshold, are left out.
    n
        Places, 40 to 2000.
    seed
        Another one draws other places.
    index
        The cube that was mapped, for the pictures; by default ``index.zarr`` in the folder.
    out
        Where to write instead; must be new.

    Returns
    -------
    Path
        The folder of the sample.

    Raises
    ------
    InputError
        If there is no map or no cube of its grid, there is a sample already, no pixel is left to sample or fewer than
        `n`, or a file cannot be read or written.

    Examples
    --------
    >>> from coslide import predict_scene
    >>> drawn = sample(predict_scene(bundle, index, folder / "map"), n=40, index=index)
    >>> sorted(path.name for path in drawn.iterdir())
    ['label.html', 'pictures', 'sample.gpkg', 'strata.json']
    """
    folder = Path(folder)
    out = folder / "sample" if out is None else Path(out)
    if not _LEAST <= n <= _MOST:
        raise InputError(f"--n: found {n}, expected {_LEAST} to {_MOST} places")
    if seed < 0:
        raise InputError(f"--seed: found {seed}, expected a whole number from 0 on")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already, maybe with labels; move it away, or give another --out")
    found = read_probability_map(folder)
    cube_path = folder / "index.zarr" if index is None else Path(index)
    if index is None and not folder_exists(cube_path):
        raise InputError(f"{folder}: has no index.zarr to draw pictures from; give the cube by --index INDEX.zarr")
    cube = open_cube(cube_path)
    require_grid(found.grid, cube_path)
    pictures = PlacePictures(cube)
    design = _design(folder, found, n, seed)
    with output_folder(out.parent), whole_output(out) as part:
        part.mkdir()
        write_json(part / DESIGN, design.model_dump(mode="json"))
        write_points(part / POINTS, design, found.grid)
        (part / "pictures").mkdir()
        for number, (place, picture) in enumerate(zip(design.places, pictures.draw(design.places), strict=True), 1):
            picture.save(part / "pictures" / f"{place.id}.png")
            report_progress("drawing", number, n)
        page: dict[str, Any] = {"title": cube.title, "ids": [one.id for one in design.places], "words": LABELS}
        page |= {"panels": pictures.panels, "side_m": pictures.side_m, "map": design.map_sha256[:16]}
        (part / PAGE).write_text(render("label.html.j2", **page), encoding="utf-8")
    km2 = sum(one.pixels for one in design.strata) * design.pixel_size_m**2 / 1e6
    shared = ", ".join(f"{one.places} {one.name}" for one in design.strata if one.places)
    _log.info(f"{n} places of {km2:.1f} km2 ({shared}): label them on {out / PAGE}, or in {out / POINTS}")
    return out


def read_design(path: Path, map_path: Path) -> SampleDesign:
    """Read ``strata.json`` of a sample of the map `map_path`.

    Raises
    ------
    InputError
        If it cannot be read, or is of another map.
    """
    design = read_record(path, SampleDesign, advice="restore it, or draw another sample (coslide sample)")
    if design.map_sha256 != sha256(map_path):
        raise InputError(f"{path}: is a sample of another map than {map_path}; draw one of this map (coslide sample)")
    return design


def strata_of_design(design: SampleDesign, found: ProbabilityMap, path: Path) -> NDArray[np.uint8]:
    """Find the stratum of each pixel of the map that was sampled, uint8 (row, col), 0 where none was wanted.

    Raises
    ------
    InputError
        If a place of the design, which was read from `path`, does not lie in its stratum.
    """
    bounds = design.model_dump(include={"threshold", "doubtful_from", "near_px"})
    strata = strata_of(found.probability, is_held_out(found.seen), **bounds)
    for one in design.places:
        if one.row >= strata.shape[0] or one.col >= strata.shape[1] or strata[one.row, one.col] != one.stratum:
            expected = f"expected it in stratum {one.stratum} of the map; restore the file, or draw another sample"
            raise InputError(f"{path}: found place {one.id!r} at row {one.row}, column {one.col}, {expected}")
    return strata


def _design(folder: Path, found: ProbabilityMap, n: int, seed: int) -> SampleDesign:
    """Divide the map into strata, and draw."""
    digest = sha256(folder / PROBABILITY)
    bounds: dict[str, Any] = {
        "threshold": found.threshold,
        "doubtful_from": _DOUBTFUL * found.threshold,
        "near_px": _NEAR_PX,
    }
    strata = strata_of(found.probability, is_held_out(found.seen), **bounds)
    pixels = np.bincount(strata.ravel(), minlength=len(STRATA) + 1)[1:]
    if pixels.sum() < n:
        unseen = "" if is_held_out(found.seen).all() else " that training did not see"
        raise InputError(f"{folder}: has {pixels.sum()} valid pixels{unseen}, expected at least {n} to label (--n)")
    sums = np.bincount(strata.ravel(), np.nan_to_num(found.probability).ravel(), len(STRATA) + 1)[1:]
    means = np.clip(sums / np.maximum(pixels, 1), 0.0, 1.0)
    sizes = allocate(pixels, means, n)
    rows, cols = np.unravel_index(draw_places(strata, sizes, seed), strata.shape)
    places = [
        Place(id=f"{digest[:6]}-{row}-{col}", row=row, col=col, stratum=int(strata[row, col]))
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
    ]
    counted = [
        Stratum(number=number, name=name, pixels=many, probability_mean=mean if many else None, places=some)
        for number, (name, many, mean, some) in enumerate(
            zip(STRATA, pixels.tolist(), means.tolist(), sizes.tolist(), strict=True), start=1
        )
    ]
    made: dict[str, Any] = {"map_sha256": digest, "seed": seed, "pixel_size_m": found.pixel_size_m, **bounds}
    return SampleDesign(**made, strata=counted, places=places)


def write_points(path: Path, design: SampleDesign, grid: GeoBox) -> None:
    """Write the places as points at the centres of their pixels, with an empty column ``label`` and a style for QGIS.

    Neither probability nor class is in it, which would sway who labels them.
    """
    points = [Point(grid.affine @ (one.col + 0.5, one.row + 0.5)) for one in design.places]
    columns: dict[str, Any] = {
        "id": [one.id for one in design.places],
        "stratum": np.array([one.stratum for one in design.places], np.int32),
        "label": np.full(len(points), None, dtype=object),
    }
    frame = gpd.GeoDataFrame(columns, geometry=points, crs=str(grid.crs))
    options = {"dataset_options": {"VERSION": "1.2"}}  # as of landslides.gpkg
    about = {"map_sha256": design.map_sha256}
    pyogrio.write_dataframe(frame, path, layer="sample", geometry_type="Point", layer_metadata=about, **options)
    style = files("coslide.pipeline").joinpath("sample.qml").read_text(encoding="utf-8")
    write_layer_style(path, "sample", style, about="places to label, by their label")
