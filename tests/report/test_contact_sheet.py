"""The sheet is checked by what it counts, writes and paints; its looks are checked by eye."""

import errno
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pyproj import CRS

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.errors import InputError
from coslide.indices.derivatives import ASPECT_CLASSES
from coslide.report.contact_sheet import contact_sheet
from coslide.report.images import GREY, YELLOW, thumbnail

ROWS, COLS = 40, 30
BANDS = ("B2", "B3", "B4")


def reflectance(date):
    group = "scene_before" if date == "pre" else "scene_after"
    return [
        Band(f"reflectance_{date}_{name}", date=date, group=group, quantity="reflectance", channel=name)
        for name in BANDS
    ]


def flag(name, **facts):
    return Band(name, kind="flag", **{"class_names": ("no", "yes"), "first_class": 0, **facts})


def cube_of(rows=ROWS, cols=COLS, *, leave_out=(), channels=BANDS, **changes):
    """Return a cube with one variable of each kind, the first column nodata; `changes` are values by name."""
    random = np.random.default_rng(0)

    def numbers(*shape):
        values = random.normal(size=(*shape, rows, cols)).astype(np.float32)
        values[..., 0] = np.nan
        return values

    def classes(low, high):
        values = random.integers(low, high + 1, (rows, cols)).astype(np.uint8)
        values[:, 0] = 255
        return values

    found = [
        (reflectance("post"), numbers(3) + 5),
        (reflectance("pre"), numbers(3)),
        (flag("pre_available", date="pre"), (classes(0, 1) == 1).astype(np.uint8)),
        (Band("ndvi_post", date="post", quantity="ndvi", role="diagnostic"), numbers()),
        (Band("ndvi_pre", date="pre", quantity="ndvi", role="diagnostic"), numbers()),
        (Band("ndvi_difference", signed=True), numbers() + 0.5),
        (Band("elevation", "m", group="terrain"), numbers() * 1000),
        (Band("mean_curvature", "m-1", group="terrain", signed=True), numbers()),
        (Band("aspect_class", kind="circular", class_names=ASPECT_CLASSES, group="terrain"), classes(1, 9)),
        (Band("stratum_class", kind="ordinal", class_names=("D1", "D2 = D3", "C2"), group="geology"), classes(1, 3)),
        (
            Band(
                "pga_class", kind="ordinal", first_class=0, definition="levels 0.12, 0.16 g",
                class_names=("below 0.12 g", "0.12 to 0.16 g", "0.16 g and more"),
            ),
            classes(0, 2),
        ),
        (Band("kriging_std", "mm", role="diagnostic"), np.full((rows, cols), np.nan, np.float32)),
        (flag("dem_void", role="diagnostic"), classes(0, 1)),
        (flag("landslide", class_names=("background", "landslide"), role="label"), classes(0, 1)),
        (flag("valid", role="mask"), (classes(0, 1) == 1).astype(np.uint8)),
    ]  # fmt: skip
    variables = {}
    for bands, values in found:
        first = bands[0] if isinstance(bands, list) else bands
        if first.variable not in leave_out:
            data = changes.get(first.variable, values)
            variables[first.variable] = (("band", "y", "x")[-data.ndim :], data, first.attributes())
    coords = {"band": list(BANDS), "x": 300005.0 + 10 * np.arange(cols), "y": 3.7e6 - 10.0 * np.arange(rows)}
    coords["spatial_ref"] = ((), 0, CRS.from_epsg(32654).to_cf())
    attrs = {"title": "Made-up earthquake", "indices": list(variables)}
    return Cube(xr.Dataset(variables, coords, attrs).sel(band=list(channels)))


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that would be saved; painting them takes a second each."""
    kept = []

    def savefig(self, path, **_):
        kept.append(self)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    return kept


def titles(figure):
    return [title for ax in figure.axes if (title := ax.get_title(loc="left"))]


def below(figure, name):
    """Return the words below the picture called `name`."""
    [ax] = [ax for ax in figure.axes if ax.get_title(loc="left") == name]
    return "\n".join(text.get_text() for text in ax.texts)


def axes_of(figure, name):
    return next(ax for ax in figure.axes if ax.get_title(loc="left") == name)


def key_below(figure, name):
    """Return the names of the colours below the picture called `name`."""
    [key] = axes_of(figure, name).child_axes
    return [label.get_text() for label in key.get_xticklabels()]


def picture(figure, name):
    return axes_of(figure, name).images[0]


@pytest.fixture
def figure(drawn, tmp_path):
    contact_sheet(cube_of(), tmp_path / "sheet.png")
    return drawn[0]


def test_the_picture_is_2400_pixels_wide_and_lies_where_it_is_said(tmp_path):
    path = tmp_path / "sheet.png"
    assert contact_sheet(cube_of(), path) == path
    with Image.open(path) as image:
        assert image.width == 2400


def test_every_band_and_variable_has_its_picture(figure):
    bands = {f"reflectance_{when}_{band}" for when in ("pre", "post") for band in BANDS}
    single = {band.name for band in cube_of().bands if not band.channel}
    assert set(titles(figure)) == bands | single | {"true colour (B4, B3, B2)"}
    assert titles(figure).count("true colour (B4, B3, B2)") == 2


def test_before_comes_before_after(figure):
    names = titles(figure)
    assert names.index("reflectance_pre_B2") < names.index("reflectance_post_B2")


def test_pictures_do_not_lie_on_each_other(figure):
    boxes = [ax.get_position() for ax in figure.axes if ax.get_label() != "<colorbar>"]
    for k, box in enumerate(boxes):
        assert box.y0 >= 0
        assert box.y1 <= 1
        for other in boxes[:k]:
            assert box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0


def test_words_do_not_lie_on_each_other(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    words = [text for ax in figure.axes for text in (*ax.texts, ax.title, ax._left_title)] + figure.texts
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in words if text.get_text()]
    for k, (text, box) in enumerate(boxes):
        assert [other for other, place in boxes[:k] if box.overlaps(place)] == [], text


def test_a_picture_says_range_unit_and_share(figure):
    elevation = cube_of().to_xarray()["elevation"].values
    low, high = np.nanmin(elevation), np.nanmax(elevation)
    words = " ".join(below(figure, "elevation").split())
    assert words == f"−{float(f'{-low:.3g}'):g} to {float(f'{high:.3g}'):g} m; 97 % valid"


def test_classes_are_named_where_the_cube_names_them(figure):
    assert key_below(figure, "aspect_class") == ["flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW"]
    assert key_below(figure, "stratum_class") == ["D1", "D2 = D3", "C2"]
    assert key_below(figure, "landslide") == ["background", "landslide"]
    assert (
        key_below(figure, "valid")
        == key_below(figure, "pre_available")
        == key_below(figure, "dem_void")
        == ["no", "yes"]
    )


@pytest.mark.parametrize("name", ["valid", "pre_available", "landslide"])
@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_that_is_the_same_everywhere_keeps_both_words(name, value, tmp_path, drawn):
    contact_sheet(cube_of(**{name: np.full((ROWS, COLS), value, np.uint8)}), tmp_path / "sheet.png")
    assert len(key_below(drawn[0], name)) == 2


def test_classes_without_names_have_their_numbers_and_what_bounds_them(figure):
    assert key_below(figure, "pga_class") == ["0", "1", "2"]
    assert below(figure, "pga_class").endswith("levels 0.12, 0.16 g")


def test_what_is_no_input_is_told_from_what_is(figure):
    headings = [text.get_text() for text in figure.texts]
    assert any("; 13 inputs of a network." in text for text in headings)
    assert "Diagnostics" in headings


def test_the_header_names_the_event_and_its_area(figure):
    headings = [text.get_text() for text in figure.texts]
    assert "Made-up earthquake" in headings
    assert any(text.startswith("30 x 40 pixels of 10 m, 0.3 x 0.4 km, north up, EPSG:32654; ") for text in headings)


def test_a_band_without_a_valid_pixel_is_drawn_all_the_same(figure):
    assert below(figure, "kriging_std") == "no valid pixel"
    assert picture(figure, "kriging_std").get_array().mask.all()


def test_the_same_band_has_the_same_colours_before_and_after(figure):
    before, after = (picture(figure, f"reflectance_{when}_B3").get_clim() for when in ("pre", "post"))
    assert before == after
    assert before[0] < 0
    assert before[1] > 4


@pytest.mark.parametrize("name", ["ndvi_difference", "mean_curvature"])
def test_colours_of_differences_and_curvature_are_grey_at_zero(name, drawn, tmp_path):
    values = np.linspace(-1, 3, ROWS * COLS, dtype=np.float32).reshape(ROWS, COLS)
    contact_sheet(cube_of(**{name: values}), tmp_path / "sheet.png")
    low, high = picture(drawn[0], name).get_clim()
    assert low == -high
    assert high == pytest.approx(2.92, abs=0.01)


def test_nodata_shows_the_hatch(tmp_path, drawn):
    contact_sheet(cube_of(), tmp_path / "sheet.png")
    assert picture(drawn[0], "elevation").get_array().mask[:, 0].all()
    assert picture(drawn[0], "stratum_class").get_array().mask[:, 0].all()
    true_colour = picture(drawn[0], "true colour (B4, B3, B2)").get_array()
    assert_array_equal(true_colour[:, 0, 3], 0)
    assert_array_equal(true_colour[:, 1:, 3], 1)


def test_landslides_are_painted_in_the_colour_of_the_key(tmp_path, drawn):
    labels = np.zeros((ROWS, COLS), np.uint8)
    labels[10:20, 10:20] = 1
    contact_sheet(cube_of(landslide=labels), tmp_path / "sheet.png")
    shown = picture(drawn[0], "landslide")
    painted = shown.cmap(shown.norm(shown.get_array()))[..., :3]
    assert_allclose(painted[15, 15], to_rgb(YELLOW))
    assert_allclose(painted[0, 0], to_rgb(GREY))


def test_a_cube_with_nothing_before_the_event_has_no_heading_for_it(tmp_path, drawn):
    cube = cube_of(leave_out=("reflectance_pre", "ndvi_pre", "ndvi_difference", "pre_available"))
    contact_sheet(cube, tmp_path / "sheet.png")
    headings = {text.get_text() for text in drawn[0].texts}
    assert "Scene after the event" in headings
    assert "Scene before the event" not in headings


def test_a_cube_without_red_green_and_blue_has_no_true_colour(tmp_path, drawn):
    contact_sheet(cube_of(channels=BANDS[:2]), tmp_path / "sheet.png")
    assert "true colour (B4, B3, B2)" not in titles(drawn[0])


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "cols"), [(3, 400), (400, 3), (1, 2)])
def test_narrow_cubes_are_drawn_too(rows, cols, tmp_path):
    with Image.open(contact_sheet(cube_of(rows, cols), tmp_path / "sheet.png")) as image:
        assert image.width == 2400


def test_equal_cubes_give_equal_bytes(tmp_path):
    first, second = (contact_sheet(cube_of(), tmp_path / f"{k}.png").read_bytes() for k in range(2))
    assert first == second


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(InputError, match="the disk is full"):
        contact_sheet(cube_of(), tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def array(values, **attrs):
    return xr.DataArray(values, dims=("y", "x"), attrs=attrs)


@pytest.mark.parametrize("rows", [7, 512, 1030])
def test_a_thumbnail_averages_the_valid_pixels(rows):
    """In strips as in one piece, edge blocks included."""
    values = np.random.default_rng(0).normal(size=(rows, 23)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    values[:4, :4] = np.nan
    small = thumbnail(array(values), 4)
    for row in range(-(-rows // 4)):
        for col in range(6):
            block = values[4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
            finite = block[np.isfinite(block)]
            expected = finite.mean(dtype=np.float64) if finite.size else np.nan
            assert_allclose(small.image[row, col], expected, rtol=1e-6)
    assert (small.low, small.high) == (np.nanmin(values), np.nanmax(values))
    assert small.mean == pytest.approx(np.nanmean(values), abs=1e-6)
    assert small.valid == np.isfinite(values).mean()


def test_a_small_picture_of_classes_has_no_class_that_is_not_there():
    classes = np.random.default_rng(0).choice(np.array([1, 9, 255], np.uint8), (50, 50))
    small = thumbnail(array(classes), 7)
    assert_array_equal(np.unique(small.image[np.isfinite(small.image)]), [1, 9])
    assert small.valid == (classes != 255).mean()


def test_no_landslide_is_lost_in_a_small_picture():
    labels = np.zeros((60, 60), np.uint8)
    labels[31, 17] = 1
    labels[:20] = 255
    small = thumbnail(array(labels, role="label"), 10)
    assert_array_equal(np.argwhere(small.image == 1), [[3, 1]])
    assert np.isnan(small.image[:2]).all()


def test_memory_does_not_grow_with_the_height_of_the_cube():
    tall = np.zeros((40000, 64), np.float32)
    tracemalloc.start()
    try:
        thumbnail(array(tall), 150)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < tall.nbytes / 10
