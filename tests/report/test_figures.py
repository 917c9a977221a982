"""The figure is checked by the pixels it paints and the words it writes; its looks are checked by eye."""

import errno

import numpy as np
import pytest
from affine import Affine
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox
from PIL import Image

from coslide.errors import InputError
from coslide.evaluation.pixels import Confusion, confusion
from coslide.report import figures
from coslide.report.figures import scene_figure

SHAPE = (60, 80)
GRID = GeoBox(SHAPE, Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")


def layers_of(shape=SHAPE, seed=0):
    """Return random layers with unknown ground in the first columns and held-out ground in the last rows."""
    rng = np.random.default_rng(seed)
    mapped = (rng.random(shape) < 0.2).astype(np.uint8)
    mapped[:, :10] = 255
    held_out = np.zeros(shape, bool)
    held_out[shape[0] // 2 :] = True
    rgb = rng.uniform(0.02, 0.2, (3, *shape)).astype(np.float32)
    return {"rgb": rgb, "recognised": rng.random(shape) < 0.2, "mapped": mapped, "held_out": held_out}


def reduced(**changes):
    return figures._reduced(GRID, **(layers_of() | changes))


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
    grid = GeoBox(shape, GRID.affine, GRID.crs)
    with Image.open(scene_figure(tmp_path / "f.png", grid=grid, title="Event", **layers_of(shape))) as picture:
        assert picture.size[0] == 2400


def test_there_are_three_panels_with_an_inventory(tmp_path, drawn):
    scene_figure(tmp_path / "f.png", grid=GRID, title="Event", **layers_of())
    assert [ax.get_title(loc="left") for ax in drawn[0].axes] == [
        "(a) After the earthquake",
        "(b) Mapped landslides",
        "(c) Recognised landslides",
    ]


def test_there_are_two_panels_without_an_inventory(tmp_path, drawn):
    scene_figure(tmp_path / "f.png", grid=GRID, title="Event", **(layers_of() | {"mapped": None, "held_out": None}))
    assert len(drawn[0].axes) == 2


def test_title_scores_credit_and_crs_are_written(tmp_path, drawn):
    found = {"f1": 0.624, "precision": 0.5, "recall": 0.75, "iou_landslide": 0.4}
    scene_figure(tmp_path / "f.png", grid=GRID, title="An event", scores=found, credit="Data: us", **layers_of())
    assert words(drawn[0])[:3] == [
        "An event",
        "Ground not trained on:   F1 0.62   precision 0.50   recall 0.75   IoU 0.40",
        "Data: us.  WGS 84 / UTM zone 48N (EPSG:32648)",
    ]


def test_the_legend_names_what_is_drawn(tmp_path, drawn):
    scene_figure(tmp_path / "f.png", grid=GRID, title="Event", **layers_of())
    labels = words(drawn[0])[-7:]
    assert labels == [
        "Mapped",
        "Not mapped",
        "Held out from training (brighter)",
        "Correct",
        "False alarm",
        "Missed",
        "Recognised, not scored",
    ]


def test_dollar_signs_in_a_title_are_no_formula(tmp_path):
    assert scene_figure(tmp_path / "f.png", grid=GRID, title="From 3 $_{ to 4 $", **layers_of()).exists()


def test_correct_false_and_missed_are_the_confusion_of_held_out_ground():
    layers = layers_of()
    correct, false, missed, _ = figures._recognised_layers(reduced())
    where = layers["held_out"] & (layers["mapped"] != 255)
    counts = confusion(layers["recognised"], layers["mapped"] == 1, where)
    tn = int(where.sum()) - sum(int(layer.mask.sum()) for layer in (correct, false, missed))
    assert counts == Confusion(*(int(layer.mask.sum()) for layer in (correct, false, missed)), tn)


def test_without_held_out_ground_all_mapped_ground_is_told_apart():
    layers = layers_of()
    correct = figures._recognised_layers(reduced(held_out=None))[0]
    np.testing.assert_array_equal(correct.mask, layers["recognised"] & (layers["mapped"] == 1))


@pytest.mark.parametrize("changes", [{}, {"held_out": None}, {"mapped": None, "held_out": None}])
def test_every_recognised_pixel_is_drawn_once(changes):
    layers = figures._recognised_layers(reduced(**changes))
    times = sum(layer.mask.astype(int) for layer in layers if layer.label != "Missed")
    np.testing.assert_array_equal(times, layers_of()["recognised"])


def test_a_landslide_has_nearly_the_colour_of_the_legend():
    scene = reduced()
    layers = figures._recognised_layers(scene)
    image = figures._painted(scene, layers)
    for layer in layers:
        far = np.abs(image[layer.mask] - to_rgb(layer.colour)).max()
        assert far <= 0.1 + 1e-6, layer.label


def test_the_scene_without_layers_is_not_dimmed():
    scene = reduced()
    np.testing.assert_array_equal(figures._painted(scene, []), scene.image)


def test_ground_without_data_is_white_in_every_panel():
    rgb = layers_of()["rgb"]
    rgb[1, 5:9, 20:30] = np.nan
    scene = reduced(rgb=rgb)
    nothing = figures._Layer(np.zeros(SHAPE, bool), "black", "")
    pictures = [figures._painted(scene, layers)[5:9, 20:30] for layers in ([], [nothing])]
    np.testing.assert_array_equal(pictures, 1)


def test_the_stretch_keeps_the_order_of_brightness():
    scene = reduced()
    red = layers_of()["rgb"][0].ravel()
    assert (np.diff(scene.image[..., 0].ravel()[np.argsort(red)]) >= 0).all()


@pytest.mark.parametrize("value", [np.nan, 0.1])
def test_a_scene_without_data_or_contrast_is_drawn(tmp_path, value):
    layers = layers_of() | {"rgb": np.full((3, *SHAPE), value, np.float32)}
    assert scene_figure(tmp_path / "f.png", grid=GRID, title="", **layers).exists()


def test_an_event_without_any_landslide_or_mapped_ground_is_drawn(tmp_path):
    none = np.zeros(SHAPE, bool)
    layers = layers_of() | {"recognised": none, "mapped": np.full(SHAPE, 255, np.uint8), "held_out": none}
    assert scene_figure(tmp_path / "f.png", grid=GRID, title="Event", **layers).exists()


def test_a_large_scene_is_reduced_without_losing_its_smallest_landslide():
    shape = (40, 9000)
    recognised = np.zeros(shape, bool)
    recognised[17, 4321] = True
    scene = figures._reduced(
        GeoBox(shape, GRID.affine, GRID.crs),
        rgb=np.zeros((3, *shape), np.float32),
        recognised=recognised,
        mapped=None,
        held_out=None,
    )
    rows, cols = np.nonzero(scene.recognised)
    x_km = scene.affine.c + (cols + 0.5) * scene.affine.a
    step_km = scene.affine.a
    assert (scene.recognised.shape[1] < 9000, len(rows)) == (True, 1)
    np.testing.assert_allclose(x_km, 300 + 43.215, atol=step_km / 2 + 1e-9)


def test_reduction_averages_what_is_known():
    band = np.array([[1, 3, np.nan, 5], [5, 7, 9, np.nan], [np.nan, np.nan, 0, 0], [np.nan, np.nan, 0, 4]])
    np.testing.assert_array_equal(figures._mean_of(band, 2), [[4, 7], [np.nan, 1]])


def test_the_border_of_held_out_ground_lies_on_its_pixels():
    held_out = np.zeros(SHAPE, bool)
    held_out[10:20, 30:50] = True
    scene = reduced(held_out=held_out)
    box = figures._outline(scene.held_out, scene.affine).get_extents()
    np.testing.assert_allclose(box.extents, [300.3, 3699.8, 300.5, 3699.9], rtol=1e-12)


@pytest.mark.parametrize(
    ("longest", "expected"), [(0.99, 0.5), (1, 1), (1.9, 1), (2, 2), (7, 5), (30, 20), (0.03, 0.02)]
)
def test_the_scale_bar_has_a_round_length(longest, expected):
    np.testing.assert_allclose(figures.round_length(longest), expected, rtol=1e-12)


def test_equal_inputs_give_equal_bytes(tmp_path):
    files = [scene_figure(tmp_path / f"{k}.png", grid=GRID, title="Event", **layers_of()) for k in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["rgb", "recognised", "mapped", "held_out"])
def test_a_layer_of_another_shape_is_refused(tmp_path, name):
    layers = layers_of()
    layers[name] = layers[name][..., :-1]
    with pytest.raises(ValueError, match=f"{name}: expected shape"):
        scene_figure(tmp_path / "f.png", grid=GRID, title="Event", **layers)


def test_a_grid_in_degrees_is_refused(tmp_path):
    with pytest.raises(ValueError, match="projected CRS in metres"):
        scene_figure(tmp_path / "f.png", grid=GeoBox(SHAPE, GRID.affine, "EPSG:4326"), title="Event", **layers_of())


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    def savefig(_, path, **__):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(InputError, match=r"f\.png: the disk is full"):
        scene_figure(tmp_path / "f.png", grid=GRID, title="Event", **layers_of())
    assert list(tmp_path.iterdir()) == []
