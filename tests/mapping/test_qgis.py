"""What is written for QGIS, opened by the real QGIS (its own Python, where it is installed)."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from coslide.io.cog import RasterBands, write_cog
from coslide.io.qgis import write_raster_style
from coslide.io.resumable import ResumableRaster
from coslide.mapping.inventory import vectorize_landslides, write_inventory
from coslide.mapping.probability_map import write_probability_map
from coslide.pipeline.sample import Place, SampleDesign, write_points
from coslide.samples.footprint import write_split_raster

SCRIPT = """
import json, os, sys
from qgis.core import (QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsRasterLayer, QgsVectorLayer)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
application = QgsApplication([], False)
application.initQgis()
found = {}
for path in sys.argv[1:]:
    layer = QgsVectorLayer(path, "a", "ogr") if path.endswith("gpkg") else QgsRasterLayer(path, "a")
    drawn, classes = layer.renderer(), []
    if drawn.type() == "graduatedSymbol":
        classes = [(r.upperValue(), r.label(), r.symbol().color().name()) for r in drawn.ranges()]
    elif drawn.type() == "categorizedSymbol":
        classes = [(c.value(), c.label(), c.symbol().symbolLayer(0).strokeColor().name()) for c in drawn.categories()]
        field = layer.fields().indexOf
        setups = {name: layer.editorWidgetSetup(field(name)) for name in ("stratum", "label")}
        offered = [list(one.values())[0] for one in setups["label"].config()["map"]]
        classes += [setups["stratum"].type(), setups["label"].type(), offered]
    elif drawn.type() == "paletted":
        classes = [(c.value, c.label, c.color.name()) for c in drawn.classes()]
    elif drawn.type() == "singlebandpseudocolor":
        items = drawn.shader().rasterShaderFunction().colorRampItemList()
        classes = [(i.value, i.label, i.color.name()) for i in items]
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setOutputSize(QSize(80, 80))
    settings.setExtent(layer.extent())
    settings.setDestinationCrs(layer.crs())
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path + ".png")
    found[path] = [layer.isValid(), layer.crs().authid(), drawn.type(), classes]
print(json.dumps(found), flush=True)
os._exit(0)  # the end of QGIS crashes where layers are alive
"""


GRID = GeoBox((80, 80), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")


@pytest.fixture(scope="module")
def opened(in_qgis, tmp_path_factory):
    """What QGIS says of each file, and the folder with a picture of each."""
    folder = tmp_path_factory.mktemp("qgis")
    probability = np.zeros(GRID.shape, np.float32)
    for row, value in ((10, 0.55), (30, 0.7), (50, 0.95)):
        probability[row : row + 10, 10:70] = value
    store = ResumableRaster(folder / "rows", GRID.shape)
    store.write(0, probability[np.newaxis])
    model = SimpleNamespace(network="egcn", threshold=0.5, name="")
    metadata = SimpleNamespace(event="a", model=model, threshold=0.5, model_dump_json=lambda: "{}")
    write_probability_map(folder, store, GRID, metadata)
    write_inventory(vectorize_landslides(probability, GRID), folder)
    subsets = np.repeat(np.arange(5, dtype=np.uint8), 16)[:, np.newaxis] + np.zeros((80, 80), np.uint8)
    write_split_raster(folder / "split.tif", subsets, GRID, fingerprint="")
    write_cog(folder / "density.tif", GRID, RasterBands(["a", "b"]), lambda rows: np.stack([probability[rows]] * 2))
    write_raster_style(folder / "density.tif", {0.0: (255, 255, 204, 0), 8.0: (128, 0, 38, 255)})
    places = [Place(id=f"{number}", row=8, col=8 + 30 * number, stratum=1) for number in range(2)]
    bounds = {"threshold": 0.5, "doubtful_from": 0.1, "near_px": 5, "pixel_size_m": 10.0}
    design = SampleDesign.model_construct(map_sha256="0", seed=0, **bounds, strata=[], places=places)
    write_points(folder / "sample.gpkg", design, GRID)
    names = ("landslides.gpkg", "probability.tif", "split.tif", "density.tif", "sample.gpkg")
    found = in_qgis(SCRIPT, *(folder / name for name in names))
    return {Path(path).name: answer for path, answer in found.items()}, folder


def colour_at(folder, name, x, y):
    return Image.open(folder / f"{name}.png").convert("RGB").getpixel((x, y))


def test_qgis_draws_landslides_by_their_probability(opened):
    found, folder = opened
    assert found["landslides.gpkg"] == [True, "EPSG:32648", "graduatedSymbol", [
        [0.6, "0 to 0.6", "#fee0b6"], [0.8, "0.6 to 0.8", "#e69f00"], [1.0, "0.8 to 1", "#b35806"],
    ]]  # fmt: skip
    shades = [colour_at(folder, "landslides.gpkg", 40, y) for y in (12, 40, 66)]  # the map begins at row 10
    assert len(set(shades)) == 3
    assert sum(shades[0]) > sum(shades[1]) > sum(shades[2])


def test_qgis_draws_probability_from_clear_to_dark_orange(opened):
    found, folder = opened
    assert found["probability.tif"][:3] == [True, "EPSG:32648", "singlebandpseudocolor"]
    assert found["probability.tif"][3] == [[0, "0", "#fee0b6"], [0.5, "0.5", "#e69f00"], [1, "1", "#b35806"]]
    assert colour_at(folder, "probability.tif", 40, 5) == (255, 255, 255)
    assert sum(colour_at(folder, "probability.tif", 40, 35)) > sum(colour_at(folder, "probability.tif", 40, 55))


def test_qgis_names_the_subsets_of_a_split(opened):
    found, folder = opened
    assert found["split.tif"] == [True, "EPSG:32648", "paletted", [
        [1, "train", "#e69f00"], [2, "test", "#0072b2"], [3, "validation", "#009e73"], [4, "guard", "#999999"],
    ]]  # fmt: skip
    drawn = [colour_at(folder, "split.tif", 40, 8 + 16 * number) for number in range(5)]
    assert drawn == [(255, 255, 255), (230, 159, 0), (0, 114, 178), (0, 158, 115), (153, 153, 153)]


def test_qgis_draws_the_first_band_of_a_raster_with_several(opened):
    found, _ = opened
    assert found["density.tif"][2:] == ["singlebandpseudocolor", [[0, "0", "#ffffcc"], [8, "8", "#800026"]]]


def test_qgis_offers_the_labels_of_a_sample_and_hides_what_would_sway(opened):
    found, _ = opened
    words = ["landslide", "no landslide", "cannot tell"]
    colours = ["#d55e00", "#0072b2", "#999999", "#f0e442"]
    kinds = [[word, word or "not labelled yet", colour] for word, colour in zip([*words, ""], colours, strict=True)]
    assert found["sample.gpkg"] == [True, "EPSG:32648", "categorizedSymbol", [*kinds, "Hidden", "ValueMap", words]]
