"""What a map looks like in QGIS: pictures of the scenes and the terrain beside it, and a project of all layers."""

from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coslide.config.event import Event
from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.io.cog import RasterBands, RowReader, write_cog
from coslide.io.qgis import ProjectLayer, write_project
from coslide.mapping.inventory import PACKAGE
from coslide.mapping.probability_map import PROBABILITY, UNCERTAINTY, ProbabilityMap
from coslide.pipeline.context import CONTEXT, LOOKS, write_context
from coslide.report import images

PROJECT = "landslides.qgz"
AFTER, BEFORE, HILLSHADE = "scene_after.tif", "scene_before.tif", "hillshade.tif"
_DATES = {AFTER: "post", BEFORE: "pre"}
TITLES = {
    AFTER: "picture of the scene after the earthquake",
    BEFORE: "picture of the scene before the earthquake",
    HILLSHADE: "picture of the terrain, lit from the northwest",
}
"""Of the pictures beside a map; each is there if the cube has what it shows."""
_RASTERS = {
    PROBABILITY: ("Probability", "Landslide probability from 0 to 1."),
    UNCERTAINTY: ("Uncertainty", "Standard deviation of the probability over orientations and members."),
    "density.tif": ("Density", "Landslides per km² of valid area, in squares of 1 km."),
}


def write_pictures(out: Path, cube: Cube) -> None:
    """Write pictures of the scenes and of the terrain of a cube beside its map, ``scene_after.tif`` and others.

    They are for the eye: 8 bits, compressed with loss, both scenes stretched alike. What lacks a value has none in the
    picture. Where the cube has no such scene, the picture of an earlier map is removed.

    Parameters
    ----------
    out
        Folder of the map.
    cube
        What was mapped.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    scenes = {name: cube.reflectance(date, images.TRUE_COLOUR) for name, date in _DATES.items()}
    scenes = {name: bands for name, bands in scenes.items() if bands}
    readers: dict[str, RowReader] = {}
    if scenes:
        step = images.step_of(cube.shape)
        small = [[images.thumbnail(cube.array(band), step).image for band in bands] for bands in scenes.values()]
        low, high = images.stretch_of([np.stack(scene, axis=-1) for scene in small])
        stretch = low.astype(np.float32), high.astype(np.float32)  # twice as fast
        readers |= {name: partial(_scene, cube, bands, stretch) for name, bands in scenes.items()}
    if elevation := [band for band in cube.bands if band.name == "elevation"]:
        readers[HILLSHADE] = partial(_hillshade, cube, elevation)
    for name in (*_DATES, HILLSHADE):
        if name not in readers:
            (out / name).unlink(missing_ok=True)
            continue
        colours = ["gray"] if name == HILLSHADE else ["red", "green", "blue"]
        bands = RasterBands([*colours, "alpha"], dtype="uint8", picture=True)
        tags = {"title": TITLES[name], "credit": str(cube.attrs.get("credit", ""))}
        write_cog(out / name, cube.grid, bands, readers[name], tags=tags)


def write_map_project(out: Path, cube: Cube, found: ProbabilityMap, event: Event | None = None) -> None:
    """Write ``landslides.qgz``, a project of QGIS that shows a map, and ``context.gpkg``, what lies around.

    Parameters
    ----------
    out
        Folder of the map, with all else that `coslide map` leaves there.
    cube, found
        What was mapped, and its map.
    event
        Brings faults and mapped landslides; None where only the cube is known.

    Raises
    ------
    InputError
        If a file of the event cannot be read, another program has an older ``context.gpkg`` open, or one cannot be
        written.
    """
    style = files("coslide.mapping").joinpath("style.qml").read_text(encoding="utf-8")
    about, source = "Landslides by the mean probability of their pixels.", f"{PACKAGE}|layername=landslides"
    recognised = ProjectLayer("Recognised landslides", about, source, style, "Landslides", shown=True)
    layers: list[ProjectLayer] = []
    for name in write_context(out, cube, found, event):
        look, source = LOOKS[name], f"{CONTEXT}|layername={name}"
        layers.append(ProjectLayer(look.title, look.about, source, look.style, look.group, look.shown))
    layers.insert(any(layer.name == LOOKS["mapped"].title for layer in layers), recognised)  # fills below outlines
    for file, (title, about) in _RASTERS.items():
        if (out / file).is_file():
            style = (out / file).with_suffix(".qml").read_text(encoding="utf-8")
            layers.append(ProjectLayer(title, about, file, style, "Map", shown=False))
    layers += [
        ProjectLayer(_name(file, cube), f"{TITLES[file].capitalize()}.", file, "", "Pictures", shown=file != BEFORE)
        for file in (AFTER, BEFORE, HILLSHADE)
        if (out / file).is_file()
    ]
    write_project(out / PROJECT, layers, cube.grid, title=cube.title)


def _name(picture: str, cube: Cube) -> str:
    """Name the layer of a picture, a scene with its day."""
    if picture == HILLSHADE:
        return "Terrain"
    day = cube.acquired(_DATES[picture])[:10]
    return f"Scene {'after' if picture == AFTER else 'before'}{day and f' ({day})'}"


def _scene(
    cube: Cube, bands: list[Band], stretch: tuple[images.Floats, images.Floats], rows: slice
) -> NDArray[np.uint8]:
    values = np.moveaxis(cube.read(rows, bands), 0, -1)
    return _picture(images.stretched(values, *stretch), np.asarray(np.isfinite(values).all(axis=-1)))


def _hillshade(cube: Cube, elevation: list[Band], rows: slice) -> NDArray[np.uint8]:
    """Draw rows of the terrain, which needs those beside them."""
    above, below = min(1, rows.start), min(1, cube.shape[0] - rows.stop)
    heights = cube.read(slice(rows.start - above, rows.stop + below), elevation)[0]
    inner = slice(above, len(heights) - below)
    shade = images.shaded_relief(heights, cube.pixel_size_m)[inner, :, :1]
    return _picture(shade, np.isfinite(heights[inner]))


def _picture(colours: images.Floats, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bring colours, 0 to 1, (row, col, channel), to 8 bits, (channel, row, col), with opacity as the last channel."""
    drawn = np.empty((colours.shape[-1] + 1, *valid.shape), np.uint8)
    drawn[-1] = 255 * valid.view(np.uint8)
    for channel, colour in zip(drawn, np.moveaxis(colours, -1, 0), strict=False):
        np.multiply(np.rint(np.float32(255) * colour), valid, out=channel, casting="unsafe")
    return drawn
