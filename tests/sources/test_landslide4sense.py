"""Chips of Landslide4Sense: what is in a folder, what is in a file, and what is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.sources.landslide4sense import BANDS, MEANS, find_chips, is_chip_folder, read_image, read_mask

SHAPE = (128, 128, 14)


def write(path, name, values):
    """Write one data set into a new HDF5 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = values
    return path


def made_up(whole):
    """Return whole numbers as the data set stores them."""
    return whole / np.array(MEANS)


def folder_of(tmp_path, *, images=(), masks=(), inside="img"):
    """Return a folder with empty files of these numbers: names alone are looked at."""
    for place, stem, numbers in ((inside, "image", images), ("mask", "mask", masks)):
        for number in numbers:
            path = tmp_path / place / f"{stem}_{number}.h5"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    return tmp_path


def refusal(read, path):
    """Return the one line that `read` refuses `path` with."""
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text.replace(str(path), "PATH")


def test_bands_have_the_names_and_units_of_an_index_cube(made_up_cube):
    cube = {(band.name, band.unit) for band in open_cube(made_up_cube).inputs if not band.classes}
    shared = {f"reflectance_post_{band}" for band in ("B2", "B3", "B4")} | {"slope", "elevation"}
    assert {band for band in cube if band[0] in shared} == {band for band in BANDS if band[0] in shared}
    assert len(shared & dict(BANDS).keys()) == 5
    assert len(BANDS) == len(set(BANDS)) == len(MEANS) == 14


def test_an_image_comes_in_physical_units_band_by_band(tmp_path):
    """Each band differs, and so do rows and columns: no two axes can be swapped unseen."""
    rows, cols, bands = np.ogrid[:128, :128, :14]
    whole = 1000 * (bands + 1) + 3 * rows + cols
    image = read_image(write(tmp_path / "image_1.h5", "img", made_up(whole)))
    assert image.dtype == np.float32
    assert image.shape == (14, 128, 128)
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image[:12], whole.transpose(2, 0, 1)[:12] / 10_000, rtol=1e-6)
    np.testing.assert_allclose(image[12:], whole.transpose(2, 0, 1)[12:], rtol=1e-6)


def test_nan_stays_nan_and_only_there(tmp_path):
    values = np.ones(SHAPE)
    values[3, 5, 7] = np.nan
    image = read_image(write(tmp_path / "image_1.h5", "img", values))
    np.testing.assert_array_equal(np.argwhere(np.isnan(image)), [[7, 3, 5]])


@pytest.mark.parametrize("dtype", ["float32", ">f8", "int16"])
def test_other_types_of_numbers_are_read_too(tmp_path, dtype):
    image = read_image(write(tmp_path / "image_1.h5", "img", np.full(SHAPE, 2, dtype=dtype)))
    np.testing.assert_allclose(image[[1, 13], 0, 0], [2 * MEANS[1] / 10_000, 2 * MEANS[13]], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "bool"])
def test_a_mask_is_0_and_1_in_rows_and_columns(tmp_path, dtype):
    stored = np.zeros((128, 128), dtype=dtype)
    stored[2, 100:] = 1
    mask = read_mask(write(tmp_path / "mask_1.h5", "mask", stored))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, stored.astype(int))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.ones((128, 128)), "PATH: img: found the shape (128, 128), expected (128, 128, 14)"),
        (np.ones((14, 128, 128)), "PATH: img: found the shape (14, 128, 128), expected (128, 128, 14)"),
        (np.full(SHAPE, b"1"), "PATH: img: found values of type |S1, expected numbers"),
        (np.ones(SHAPE, dtype=bool), "PATH: img: found values of type bool, expected numbers"),
        (np.ones(SHAPE, dtype=complex), "PATH: img: found values of type complex128, expected numbers"),
    ],
    ids=["flat", "band first", "text", "bool", "complex"],
)
def test_an_image_of_another_shape_or_type_is_refused(tmp_path, values, found):
    assert refusal(read_image, write(tmp_path / "image_1.h5", "img", values)) == found


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_infinite_values_are_refused_with_their_band(tmp_path, value):
    """1e300 is finite in the file, but not in float32."""
    values = np.ones(SHAPE)
    values[:2, 0, 12] = value
    text = refusal(read_image, write(tmp_path / "image_1.h5", "img", values))
    assert text.startswith("PATH: img: found 2 infinite values in slope, expected")


@pytest.mark.parametrize(
    ("values", "found"),
    [([2, 255], "2, 255"), ([0.5], "0.5"), ([np.nan], "nan"), (range(2, 9), "2, 3, 4, 5, 6 and 2 more"), ([-1], "-1")],
)
def test_a_mask_of_other_values_is_refused_by_their_names(tmp_path, values, found):
    stored = np.zeros((128, 128))
    stored[0, : len(values)] = values
    text = refusal(read_mask, write(tmp_path / "mask_1.h5", "mask", stored))
    assert text == f"PATH: mask: found {found}, expected 0 (background) and 1 (landslide) only"


def test_a_mask_of_another_shape_or_type_is_refused(tmp_path):
    path = write(tmp_path / "mask_1.h5", "mask", np.zeros((128, 128, 1)))
    assert refusal(read_mask, path) == "PATH: mask: found the shape (128, 128, 1), expected (128, 128)"
    text = write(tmp_path / "mask_2.h5", "mask", np.full((128, 128), b"0"))
    assert refusal(read_mask, text) == "PATH: mask: found values of type |S1, expected numbers"


@pytest.mark.parametrize(("read", "name"), [(read_image, "img"), (read_mask, "mask")])
def test_a_file_without_the_data_set_says_what_it_has(tmp_path, read, name):
    other = write(tmp_path / "other.h5", "image", np.ones(3))
    assert refusal(read, other) == f"PATH: found image, expected the data set {name!r}"
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    assert refusal(read, tmp_path / "empty.h5") == f"PATH: found nothing, expected the data set {name!r}"
    group = write(tmp_path / "group.h5", f"{name}/inner", np.ones(3))
    assert refusal(read, group) == f"PATH: {name}: found a group, expected a data set"


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_what_is_no_hdf5_file_is_refused(tmp_path, read):
    assert refusal(read, tmp_path / "none.h5").startswith("PATH: not found")
    assert refusal(read, tmp_path).startswith("PATH: is a folder")
    (tmp_path / "text.h5").write_text("no HDF5\n" * 1000)
    assert refusal(read, tmp_path / "text.h5").startswith("PATH: cannot be read as HDF5 (")


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = write(tmp_path / "image_1.h5", "img", np.ones(SHAPE))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert refusal(read_image, path).startswith("PATH: cannot be read as HDF5 (")


def test_damage_inside_a_file_is_refused_or_read_but_never_a_traceback(tmp_path):
    """The header, where names, shapes and types stand, byte by byte."""
    whole = write(tmp_path / "mask_1.h5", "mask", np.zeros((128, 128), dtype=np.uint8)).read_bytes()
    damaged = tmp_path / "damaged.h5"
    refused = []
    for place in range(0, 2000, 7):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_mask(damaged)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert [text for text in refused if "\n" in text] == []


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "raw"])
def test_values_that_lie_elsewhere_are_refused(tmp_path, kind):
    """All four would read well, if they were followed."""
    other = write(tmp_path / "other.h5", "img", np.ones(SHAPE))
    (tmp_path / "raw.bin").write_bytes(np.ones(SHAPE).tobytes())
    path = tmp_path / "image_1.h5"
    with h5py.File(path, "w") as file:
        if kind == "external":
            file["img"] = h5py.ExternalLink("other.h5", "img")
        elif kind == "soft":
            file["there"] = np.ones(SHAPE)
            file["img"] = h5py.SoftLink("/there")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(SHAPE, dtype="f8")
            layout[...] = h5py.VirtualSource(other, "img", SHAPE)
            file.create_virtual_dataset("img", layout)
        else:
            raw = [(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("img", SHAPE, dtype="f8", external=raw)
    with h5py.File(path) as file:
        assert file["img"][0, 0, 0] == 1
    assert refusal(read_image, path).endswith("expected a data set in the file itself")


@pytest.mark.parametrize("inside", ["img", "."])
def test_images_come_in_the_order_of_their_numbers_each_with_its_mask(tmp_path, inside):
    folder = folder_of(tmp_path, images=[10, 2, 1, 33], masks=[33, 1, 2, 10], inside=inside)
    (tmp_path / inside / "._image_2.h5").touch()
    (tmp_path / inside / "readme.txt").touch()
    chips = find_chips(folder)
    assert chips.images == [folder / inside / f"image_{n}.h5" for n in (1, 2, 10, 33)]
    assert chips.masks == [folder / "mask" / f"mask_{n}.h5" for n in (1, 2, 10, 33)]


def test_a_folder_may_have_no_masks(tmp_path):
    (tmp_path / "mask").mkdir()
    chips = find_chips(folder_of(tmp_path, images=[4, 3]))
    assert [path.name for path in chips.images] == ["image_3.h5", "image_4.h5"]
    assert chips.masks == []


def test_no_folder_and_no_images_are_refused(tmp_path):
    assert refusal(find_chips, tmp_path / "none").startswith("PATH: not found")
    assert refusal(find_chips, folder_of(tmp_path, masks=[1])).startswith("PATH: found no images")


@pytest.mark.parametrize(
    ("images", "masks", "found"),
    [
        ([1, 2, 10], [1, 10], "PATH: found image_2.h5 without mask, expected mask_2.h5 for it"),
        ([1, 2, 10], [1], "PATH: found image_2.h5 and 1 more without mask"),
        ([1], [1, 7], "PATH: found mask_7.h5 without image, expected image_7.h5 for it"),
        ([1, "01"], [], "PATH/img: found image_01.h5 and image_1.h5, expected each number once"),
        ([1, "x"], [], "PATH/img/image_x.h5: found an HDF5 file of this name"),
        ([1], ["one"], "PATH/mask/mask_one.h5: found an HDF5 file of this name"),
    ],
)
def test_images_and_masks_that_do_not_go_together_are_refused(tmp_path, images, masks, found):
    assert refusal(find_chips, folder_of(tmp_path, images=images, masks=masks)).startswith(found)


def test_masks_beside_images_and_images_in_two_places_are_refused(tmp_path):
    """Neither is how the data set comes, and one half of the files would be left out."""
    folder_of(tmp_path, images=[1], inside=".")
    (tmp_path / "mask_1.h5").touch()
    assert refusal(find_chips, tmp_path).startswith("PATH/mask_1.h5: found an HDF5 file of this name")
    folder_of(tmp_path, images=[2])
    assert refusal(find_chips, tmp_path).startswith("PATH: found images in it and in its folder img")


def test_a_folder_of_chips_is_told_from_others(tmp_path, made_up_cube):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "img").mkdir(parents=True)
    (tmp_path / "other" / "img" / "picture.h5").touch()
    inner, flat = tmp_path / "inner", tmp_path / "flat"
    for folder, inside in ((inner, "img"), (flat, ".")):
        folder.mkdir()
        folder_of(folder, images=[12], inside=inside)
    assert is_chip_folder(inner)
    assert is_chip_folder(flat)
    others = [made_up_cube, tmp_path / "empty", tmp_path / "other", tmp_path / "none", flat / "image_12.h5"]
    assert [is_chip_folder(other) for other in others] == [False] * 5


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    """Root, as which tests may run, can list all: the refusal is made up."""

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    folder_of(tmp_path, images=[1])
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert refusal(find_chips, tmp_path) == "PATH/img: cannot be listed (Permission denied)"
    assert not is_chip_folder(tmp_path)


@pytest.mark.realdata
def test_real_samples_are_whole_numbers_and_plausible(data_folder):
    """The means are right if all values multiplied back are whole; B10 shows that no offset of 1000 is in them."""
    folder = data_folder / "landslide4sense-samples"
    assert is_chip_folder(folder)
    chips = find_chips(folder)
    assert [path.stem for path in chips.images] == ["image_31", "image_52", "image_68", "image_90"]
    assert chips.masks == []
    for path in chips.images:
        image = read_image(path)
        assert np.isfinite(image).all()
        whole = image.astype(np.float64)
        whole[:12] *= 10_000
        assert np.abs(whole - np.rint(whole)).max() < 1e-3
        assert whole[0].std() > 10
        assert ((image[:12] >= 0) & (image[:12] < 0.5)).all()
        assert 0.0003 < np.median(image[9]) < 0.003
        assert np.median(image[7]) > 1.5 * np.median(image[3])  # B8 over B4: green hillsides
        assert 0 <= image[12].min() < image[12].max() < 80
        assert 100 < image[13].min() < image[13].max() < 4000


@pytest.mark.realdata
def test_the_slope_of_real_samples_is_that_of_their_elevation_in_degrees(data_folder):
    """In per cent it would be about twice as much, in radians a sixtieth."""
    for path in find_chips(data_folder / "landslide4sense-samples").images:
        image = read_image(path)
        by_row, by_col = np.gradient(image[13], 10.0)
        expected = np.degrees(np.arctan(np.hypot(by_row, by_col)))
        assert 0.8 < image[12].mean() / expected.mean() < 1.1
        assert np.corrcoef(image[12].ravel(), expected.ravel())[0, 1] > 0.7
