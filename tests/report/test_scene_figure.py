"""The figure is checked by the pixels it paints and the words it writes; its looks are checked by eye."""

import errno

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from pyproj import CRS

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.errors import InputError
from coslide.evaluation.pixels import scores
from coslide.mapping.probability_map import ProbabilityMap
from coslide.report.images import COLOURS, CORRECT, FALSE_ALARM, MISSED, NOT_SCORED
from coslide.report.page import round_length
from coslide.report.scene_figure import scene_figure
from coslide.samples.split import Subset

SHAPE = (60, 80)


def layers_of(shape=SHAPE, seed=0):
    """Return random layers with unmapped first columns and held-out last rows."""
    rng = np.random.default_rng(seed)
    mapped = (rng.random(shape) < 0.2).astype(np.uint8)
    mapped[:, :10] = 255
    held_out = np.zeros(shape, bool)
    held_out[shape[0] // 2 :] = True
    rgb = rng.uniform(0.02, 0.2, (3, *shape)).astype(np.float32)
    return {"rgb": rgb, "recognised": rng.random(shape) < 0.2, "mapped": mapped, "held_out": held_out}


def cube_of(rgb, mapped, **attrs):
    bands = [
        Band(f"reflectance_post_{name}", date="post", group="scene_after", quantity="reflectance", channel=name)
        for name in ("B4", "B3", "B2")
    ]
    valid = np.isfinite(rgb).all(axis=0).astype(np.uint8)
    flags = {"valid": ("mask", valid), "landslide": ("label", mapped)}
    variables = {"reflectance_post": (("band", "y", "x"), rgb, bands[0].attributes())}
    for name, (role, values) in flags.items():
        if values is not None:
            band = Band(name, kind="flag", class_names=("no", "yes"), first_class=0, role=role)
            variables[name] = (("y", "x"), values, band.attributes())
    x, y = (10 * np.arange(size) for size in rgb.shape[:0:-1])
    coords = {"band": ["B4", "B3", "B2"], "x": 300005.0 + x, "y": 3699995.0 - y}
    coords["spatial_ref"] = ((), 0, CRS.from_epsg(32648).to_cf())
    return Cube(xr.Dataset(variables, coords, {"indices": list(variables), **attrs}))


def draw(path, *, rgb, recognised, mapped=None, held_out=None, found=None, title="Event", credit=""):
    cube = cube_of(rgb, mapped, title=title, credit=credit)
    landslides = ProbabilityMap(recognised.astype(np.float32), cube.grid)
    if held_out is not None:
        vars(landslides)["seen"] = np.where(held_out, Subset.NONE, Subset.TRAIN).astype(np.uint8)
    return scene_figure(path, cube, landslides, found)


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are saved."""
    kept, save = [], Figure.savefig

    def savefig(self, *args, **options):
        kept.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return kept


def words(figure):
    legends = [
        text.get_text() for ax in figure.axes for text in (ax.get_legend().get_texts() if ax.get_legend() else [])
    ]
    return [text.get_text() for text in figure.texts] + [ax.get_title(loc="left") for ax in figure.axes] + legends


@pytest.mark.parametrize("shape", [SHAPE, (80, 30), (20, 90)])
def test_the_picture_is_2400_pixels_wide(tmp_path, shape):
    with Image.open(draw(tmp_path / "f.png", **layers_of(shape))) as picture:
        assert picture.size[0] == 2400


def test_there_are_three_panels_with_an_inventory(tmp_path, drawn):
    draw(tmp_path / "f.png", **layers_of())
    assert [ax.get_title(loc="left") for ax in drawn[0].axes] == [
        "(a) After the earthquake",
        "(b) Mapped landslides",
        "(c) Recognised landslides",
    ]


def test_there_are_two_panels_without_an_inventory(tmp_path, drawn):
    draw(tmp_path / "f.png", **(layers_of() | {"mapped": None, "held_out": None}))
    assert len(drawn[0].axes) == 2


def test_title_scores_credit_and_crs_are_written(tmp_path, drawn):
    found = scores(tp=5, fp=5, fn=2, tn=90)
    draw(tmp_path / "f.png", title="An event", found=found, credit="Data: us", **layers_of())
    assert words(drawn[0])[:3] == [
        "An event",
        "Pixels not trained on:   F1 0.59   precision 0.50   recall 0.71   IoU 0.42",
        "Data: us. WGS 84 / UTM zone 48N (EPSG:32648)",
    ]


def test_the_legends_name_what_is_drawn(tmp_path, drawn):
    draw(tmp_path / "f.png", **layers_of())
    around = ["Not mapped", "Held out from training"]
    kinds = ["Correct", "False alarm", "Missed", "Recognised, not scored"]
    assert words(drawn[0])[-9:] == ["Mapped", *around, *kinds, *around]


def test_dollar_signs_in_a_title_are_no_formula(tmp_path):
    assert draw(tmp_path / "f.png", title="From 3 $_{ to 4 $", **layers_of()).exists()


def colours_drawn(axes):
    return np.asarray(axes.images[0].get_array())


def test_each_landslide_is_drawn_in_the_colour_of_its_kind_where_labels_can_judge(tmp_path, drawn):
    layers = layers_of()
    draw(tmp_path / "f.png", **layers)
    image = colours_drawn(drawn[0].axes[2])
    recognised, mapped = layers["recognised"], layers["mapped"] == 1
    judged = layers["held_out"] & (layers["mapped"] != 255)
    inner = np.ones(SHAPE, bool)
    inner[28:32] = False  # the frame
    for code, where in (
        (CORRECT, recognised & mapped & judged),
        (FALSE_ALARM, recognised & ~mapped & judged),
        (MISSED, ~recognised & mapped & judged),
        (NOT_SCORED, recognised & ~judged),
    ):
        np.testing.assert_allclose(image[where & inner], np.tile(to_rgb(COLOURS[code]), ((where & inner).sum(), 1)))


def test_an_event_without_any_landslide_or_mapped_pixel_is_drawn(tmp_path):
    none = np.zeros(SHAPE, bool)
    layers = layers_of() | {"recognised": none, "mapped": np.full(SHAPE, 255, np.uint8), "held_out": none}
    layers["rgb"] = np.full((3, *SHAPE), np.nan, np.float32)
    assert draw(tmp_path / "f.png", **layers).exists()


def test_a_large_scene_is_reduced_without_losing_its_smallest_landslide(tmp_path, drawn):
    shape = (40, 9000)
    recognised = np.zeros(shape, bool)
    recognised[17, 4321] = True
    draw(tmp_path / "f.png", title="", rgb=np.zeros((3, *shape), np.float32), recognised=recognised)
    image = colours_drawn(drawn[0].axes[1])
    found = np.argwhere(np.isclose(image, to_rgb(COLOURS[NOT_SCORED])).all(axis=-1))
    step = 9000 / image.shape[1]
    assert image.shape[1] < 9000
    assert len(found) == 1
    np.testing.assert_allclose((found[0, 1] + 0.5) * step, 4321.5, atol=step)


@pytest.mark.parametrize(
    ("longest", "expected"), [(0.99, 0.5), (1, 1), (1.9, 1), (2, 2), (7, 5), (30, 20), (0.03, 0.02), (0.3 / 3, 0.05)]
)
def test_the_scale_bar_has_a_round_length(longest, expected):
    np.testing.assert_allclose(round_length(longest), expected, rtol=1e-12)


def test_equal_inputs_give_equal_bytes(tmp_path):
    files = [draw(tmp_path / f"{k}.png", **layers_of()) for k in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    def savefig(_, path, **__):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(InputError, match=r"f\.png: the disk is full"):
        draw(tmp_path / "f.png", **layers_of())
    assert list(tmp_path.iterdir()) == []
