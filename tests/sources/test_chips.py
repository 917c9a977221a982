"""Chips: what their description may say, what is in a folder, what is in a file, and what is refused."""

import h5py
import numpy as np
import pytest
import rasterio

from coslide.config.chips import read_chips_config
from coslide.cube.cube import open_cube
from coslide.cube.mosaic import open_mosaics
from coslide.errors import InputError
from coslide.io.arrays import MOST_VALUES, read_array
from coslide.sources.chips import Chip, chips_config, find_chips, read_image, read_mask

FORMS = [".png", ".tif", ".npy", ".h5"]


def refusal(call, *given):
    """Return the one line that `call` is refused with."""
    with pytest.raises(InputError) as caught:
        call(*given)
    text = str(caught.value)
    assert "\n" not in text
    return text


def of_path(path):
    """Return all chips of a description."""
    config = chips_config(path)
    return config, [chip for chips in find_chips(config).values() for chip in chips]


@pytest.mark.parametrize("form", FORMS)
def test_values_and_masks_are_those_that_were_written_whatever_the_format(chips_writer, tmp_path, form):
    path, stored = chips_writer(tmp_path, ["a,0,0", "a,0,32"], form=form, keys="scale = 0.01\noffset = -0.1\n")
    config, chips = of_path(path)
    for chip in chips:
        image, mask = stored[chip.id]
        np.testing.assert_allclose(read_image(chip, config), image / 100 - 0.1, rtol=1e-6)
        np.testing.assert_array_equal(read_mask(chip, config), mask)


def test_the_factor_of_a_chip_multiplies_its_values_and_nodata_has_none(chips_writer, tmp_path):
    keys, table = "nodata = 45\n", 'factor = "factor"'
    path, stored = chips_writer(tmp_path, ["a,0,0,2.5", "a,0,32,0.5"], keys=keys, table=table)
    config, chips = of_path(path)
    for chip, factor in zip(chips, (2.5, 0.5), strict=True):
        image = stored[chip.id][0]
        expected = np.where(image == 45, np.nan, image * factor)
        np.testing.assert_allclose(read_image(chip, config), expected, rtol=1e-6)


def test_the_factor_of_a_chip_is_that_of_reflectance_alone(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a,0,0,2.5"], table='factor = "factor"')
    text = path.read_text()
    assert "reflectance_post_B3" in text
    for name, factor in (("slope", 1), ("elevation", 1), ("other", 1), ("reflectance_pre_B3", 2.5)):
        path.write_text(text.replace("reflectance_post_B3", name))
        config, (chip,) = of_path(path)
        expected = stored["1"][0] * np.array([2.5, factor, 2.5])[:, None, None]
        np.testing.assert_allclose(read_image(chip, config), expected)
    path.write_text(text.replace('"reflectance_post_B3"', '{ name = "red", unit = "relative" }'))
    config, (chip,) = of_path(path)
    np.testing.assert_allclose(read_image(chip, config), stored["1"][0] * 2.5)


def with_bounds(path, bounds):
    """Give the only chip of a table bounds; return the chip."""
    path.write_text(f'{path.read_text()}bounds = ["west", "south", "east", "north"]\n')
    (path.parent / "chips.csv").write_text(f"id,event,row,col,west,south,east,north\n1,a,0,0,{bounds}")
    return of_path(path)[1][0]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("200,1,201,2", (-160, 1, -159, 2)),
        ("180,1,180.5,2", (-180, 1, -179.5, 2)),
        ("359.5,1,360.5,2", (-0.5, 1, 0.5, 2)),
        ("179,1,180,2", (179, 1, 180, 2)),
        ("-160,1,-159,2", (-160, 1, -159, 2)),
    ],
)
def test_longitudes_to_360_are_those_to_180_so_that_one_place_has_one(chips_writer, tmp_path, given, found):
    assert with_bounds(chips_writer(tmp_path, ["a,0,0"])[0], given).bounds == found


@pytest.mark.parametrize("given", ["179.5,1,180.5,2", "11,1,10,2", "-180,1,0,2", "10,2,11,2", "10,1,11,91"])
def test_bounds_that_cannot_be_are_refused(chips_writer, tmp_path, given):
    path, _ = chips_writer(tmp_path, ["a,0,0"])
    text = refusal(with_bounds, path, given)
    assert text.endswith("expected west < east and south < north in degrees, not across longitude 180, or none")
    assert f"line 2: found {given.replace(',', ', ')} as bounds" in text


@pytest.mark.parametrize("table", ["", 'event = "event"'])
@pytest.mark.parametrize("what", ["img", "lab"])
@pytest.mark.parametrize("one", [True, False])
def test_a_link_that_leads_out_of_the_folder_is_refused(chips_writer, tmp_path, table, what, one):
    path, _ = chips_writer(tmp_path / "chips", ["a,0,0"], table=table)
    place = path.parent / what / "1.png" if one else path.parent / what
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    text = refusal(of_path, path)
    found = f"{path.parent / what / '1.png'}: leads out of {path.parent} by a link"
    assert text == f"{found}, expected a file inside; copy it there"
    (tmp_path / "linked").symlink_to(path.parent)  # the folder itself may be one
    place.unlink()
    (tmp_path / "elsewhere").rename(place)
    assert len(of_path(tmp_path / "linked")[1]) == 1


def test_a_table_that_lies_elsewhere_is_refused(chips_writer, tmp_path):
    path, _ = chips_writer(tmp_path / "chips", ["a,0,0"])
    table = (path.parent / "chips.csv").rename(tmp_path / "chips.csv")
    (path.parent / "chips.csv").symlink_to(table)
    assert "chips.csv: leads out of" in refusal(of_path, path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tiff_states_its_nodata_itself_unless_the_description_does(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a,0,0"], form=".tif", table="")
    with rasterio.open(tmp_path / "img" / "1.tif", "r+") as file:
        file.nodata = 45
    config, (chip,) = of_path(path)
    np.testing.assert_array_equal(np.isnan(read_image(chip, config)), stored["1"][0] == 45)
    other = config.model_copy(update={"nodata": 46})
    np.testing.assert_array_equal(np.isnan(read_image(chip, other)), stored["1"][0] == 46)


def test_without_a_table_files_are_found_by_their_names_2_before_10(chips_writer, tmp_path):
    path, _ = chips_writer(tmp_path, ["a"] * 11, table="")
    (tmp_path / "img" / "._3.png").touch()
    (tmp_path / "img" / "3.txt").touch()
    _, chips = of_path(tmp_path)
    assert [chip.id for chip in chips] == [str(number) for number in range(1, 12)]
    assert {(chip.event, chip.place) for chip in chips} == {("", None)}
    (tmp_path / "lab" / "2.png").unlink()
    assert refusal(of_path, path).endswith("found the image of 2 without mask, expected lab/2.png")
    (tmp_path / "img" / "2.png").unlink()
    (tmp_path / "img" / "10.png").unlink()
    assert refusal(of_path, path).endswith("found the mask of 10 without image, expected img/10.png")


def test_events_are_chosen_in_the_description_or_after_the_path(chips_writer, tmp_path):
    path, _ = chips_writer(tmp_path, ["east,0,0", "west,0,0", "south,0,0"])
    assert list(find_chips(chips_config(path))) == ["east", "west", "south"]
    assert list(find_chips(chips_config(tmp_path / "chips.toml#west"))) == ["west"]
    assert list(find_chips(chips_config(tmp_path.with_name(f"{tmp_path.name}#south,east")))) == ["south", "east"]
    path.write_text(path.read_text().replace("[table]", 'events = ["west"]\n[table]'))
    assert list(find_chips(chips_config(path))) == ["west"]
    text = refusal(of_path, tmp_path / "chips.toml#north")
    assert text == f"{path}: events: found 'north', expected some of east, west, south"


def test_an_event_file_and_what_is_not_there_are_told_from_a_description(made_up_event, tmp_path):
    assert "is an event file; build its cube (coslide build)" in refusal(chips_config, made_up_event)
    assert refusal(chips_config, tmp_path / "a.toml").endswith("expected a TOML file")


def test_a_name_with_the_sign_of_events_is_taken_as_it_is(chips_writer, tmp_path):
    path, _ = chips_writer(tmp_path / "a#b", ["a,0,0"])
    assert chips_config(path.parent).file == path


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("img/{id}.png", "../img/{id}.png", "images: found '../img/{id}.png', expected a path inside root"),
        ("img/{id}.png", "/img/{id}.png", "images: found '/img/{id}.png', expected a path inside root"),
        ("img/{id}.png", "img/*.png", "images: found 'img/*.png', expected {id} in it once, such as images/{id}.png"),
        ('path = "chips.csv"', 'path = "a/../../b.csv"', "table.path: found 'a/../../b.csv', expected a path inside"),
        ('licence = "CC0"', 'license = "CC0"', "license: unknown key"),
        ("pixel_size_m = 10", "", "pixel_size_m: missing, and it is required"),
        ('"reflectance_post_B4"', '"../B4"', "bands.0.name: found '../B4'"),
        ('"reflectance_post_B4"', '"reflectance_post_B3"', "expected each once"),
        ('row = "row"', "", "table: row and col: expected both, or none"),
        ('event = "event"', 'event = "row"', "table: event: found 'row', which is a column of numbers too"),
        (
            'event = "event"',
            'id = "factor"\nfactor = "factor"',
            "table: id: found 'factor', which is a column of numbers",
        ),
        ('event = "event"', 'bounds = ["id", "b", "c", "d"]', "table: id: found 'id', which is a column of numbers"),
        ('licence = "CC0"', 'image_dataset = "img"', "image_dataset: goes with images in HDF5"),
        ("img/{id}.png", "img/{id}.h5", "image_dataset: missing, and images in HDF5 need it"),
        ('event = "event"', 'event = "country"', "has no column 'country'"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line_with_its_key(chips_writer, tmp_path, old, new, found):
    path, _ = chips_writer(tmp_path, ["a,0,0"])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert found in refusal(of_path, path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("../../x,a,0,0,1", "line 2: found '../../x' as id, expected what {id} stands for"),
        (",a,0,0,1", "line 2: found None as id"),
        ("1,a,0.5,0,1", "line 2: found 0.5 and 0 as row and col, expected whole numbers, or none"),
        ("1,a,-1,0,1", "line 2: found -1 and 0 as row and col"),
        ("1,a,,0,1", "line 2: found nan and 0 as row and col"),
        ("1,a,0,0,0", "line 2: found 0 as factor, expected a number above 0"),
        ("1,a,0,0,", "line 2: found nan as factor, expected a number above 0"),
        ("1,a,0,0,1\n1,a,0,1,1", "line 3: found 1 again as id, expected each once"),
        ("", "found no chip, expected a line for each"),
    ],
)
def test_a_wrong_line_of_the_table_is_refused_with_its_number(chips_writer, tmp_path, line, found):
    table = 'event = "event"\nrow = "row"\ncol = "col"\nfactor = "factor"'
    path, _ = chips_writer(tmp_path, ["a,0,0"], table=table)
    (tmp_path / "chips.csv").write_text(f"id,event,row,col,factor\n{line}")
    assert found in refusal(of_path, path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9])
def test_a_truncated_file_is_refused(chips_writer, tmp_path, form, share):
    path, _ = chips_writer(tmp_path, ["a,0,0"], form=form)
    file = tmp_path / "img" / f"1{form}"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    config, (chip,) = of_path(path)
    assert refusal(read_image, chip, config).startswith(f"{file}: cannot be read as ")


@pytest.mark.parametrize("form", FORMS)
def test_damage_inside_a_file_is_refused_or_read_but_never_a_traceback(chips_writer, tmp_path, form):
    """The header, where names, shapes and types stand, byte by byte."""
    path, _ = chips_writer(tmp_path, ["a,0,0"], form=form)
    config, (chip,) = of_path(path)
    whole, refused = chip.image.read_bytes(), []
    for place in range(0, min(2000, len(whole)), 11):
        chip.image.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_image(chip, config)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 3
    assert [text for text in refused if "\n" in text] == []


def test_objects_are_not_unpickled_and_too_many_values_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert refusal(read_array, tmp_path / "a.npy").startswith(f"{tmp_path}/a.npy: cannot be read as NPY (")
    with (tmp_path / "b.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (MOST_VALUES + 1,)}
        )
        file.truncate(file.tell() + MOST_VALUES + 1)  # a sparse file
    assert refusal(read_array, tmp_path / "b.npy").endswith(f"expected 1 to {MOST_VALUES} values")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("x", (10**6, 10**6), dtype="u1", chunks=(1000, 1000))
        file["y"] = np.array([b"text"])
    assert refusal(read_array, tmp_path / "c.h5", "x").endswith(f"expected 1 to {MOST_VALUES} values")
    assert refusal(read_array, tmp_path / "c.h5", "y").endswith("found values of type |S4, expected numbers")
    assert refusal(read_array, tmp_path / "c.h5", "z").endswith("c.h5: found x, y, expected the data set 'z'")
    assert refusal(read_array, tmp_path / "d.gif") == f"{tmp_path}/d.gif: not found; expected a file of numbers"
    (tmp_path / "e.h5").mkdir()
    assert refusal(read_array, tmp_path / "e.h5", "x").endswith("is a folder; expected a file")


def test_a_picture_reads_no_other_file(tmp_path):
    """A VRT under the name of a PNG would open any file of the machine, and one beside it change the values."""
    (tmp_path / "a.png").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    assert "cannot be read as PNG" in refusal(read_array, tmp_path / "a.png")


def test_values_that_lie_elsewhere_are_refused(tmp_path):
    """All four would read well, if they were followed."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["img"] = np.ones((4, 4))
    (tmp_path / "raw.bin").write_bytes(np.ones((4, 4)).tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["there"] = np.ones((4, 4))
        file["external"], file["soft"] = h5py.ExternalLink("other.h5", "img"), h5py.SoftLink("/there")
        layout = h5py.VirtualLayout((4, 4), dtype="f8")
        layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "img", (4, 4))
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("raw", (4, 4), dtype="f8", external=raw)
        file.create_group("group")
    for name in ("external", "soft", "virtual", "raw"):
        with h5py.File(tmp_path / "a.h5") as file:
            assert file[name][0, 0] == 1
        assert refusal(read_array, tmp_path / "a.h5", name).endswith("expected a data set in the file itself")
    assert refusal(read_array, tmp_path / "a.h5", "group").endswith("group: found a group, expected a data set")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_infinite_values_are_refused_with_their_band(chips_writer, tmp_path, value):
    """1e300 is finite in the file, but not in float32."""
    path, stored = chips_writer(tmp_path, ["a,0,0"], form=".npy")
    image = stored["1"][0].transpose(1, 2, 0).astype(np.float64)
    image[0, 0, 1] = value
    np.save(tmp_path / "img" / "1.npy", image)
    config, (chip,) = of_path(path)
    assert "found infinite values in reflectance_post_B3, expected numbers" in refusal(read_image, chip, config)


def test_another_number_of_bands_is_refused(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a,0,0"], form=".npy")
    config, (chip,) = of_path(path)
    np.save(chip.image, stored["1"][0])
    assert "found the shape (32, 3, 32) of uint8, expected 3 bands, as chips.toml lists" in refusal(
        read_image, chip, config
    )
    flipped = config.model_copy(update={"axes": "band row col"})
    np.testing.assert_array_equal(read_image(chip, flipped), stored["1"][0])
    np.save(chip.mask, np.zeros((32, 32, 2), np.uint8))
    assert "found the shape (32, 32, 2), expected a mask of rows and columns" in refusal(read_mask, chip, config)


@pytest.mark.parametrize(
    ("values", "found"),
    [([2, 255], "2, 255"), ([0.5], "0.5"), ([np.nan], "nan"), (range(2, 9), "2, 3, 4, 5, 6 and 2 more"), ([-1], "-1")],
)
def test_a_mask_of_other_values_is_refused_by_their_names(chips_writer, tmp_path, values, found):
    path, _ = chips_writer(tmp_path, ["a,0,0"], form=".npy")
    config, (chip,) = of_path(path)
    stored = np.zeros((32, 32))
    stored[0, : len(values)] = values
    np.save(chip.mask, stored)
    text = refusal(read_mask, chip, config)
    assert text == f"{chip.mask}: found {found}, expected 0 (background) and 1 (landslide) only"
    text = refusal(read_mask, chip, config.model_copy(update={"unlabelled": 99}))
    assert text.endswith(f"found {found}, expected 0 (background), 99 (unlabelled) and 1 (landslide) only")


def test_the_description_says_which_value_of_a_mask_means_what(chips_writer, tmp_path):
    path, _ = chips_writer(tmp_path, ["a,0,0"], form=".npy", keys="landslide = 255\nunlabelled = 1\n")
    config, (chip,) = of_path(path)
    np.save(chip.mask, np.array([[0, 1], [255, 0]]))
    np.testing.assert_array_equal(read_mask(chip, config), [[0, 255], [1, 0]])


def of_landslide4sense(folder, *, number, image, mask):
    """Write one chip as the data set has them."""
    for place, stem, name, values in (("img", "image", "img", image), ("mask", "mask", "mask", mask)):
        (folder / place).mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / place / f"{stem}_{number}.h5", "w") as file:
            file[name] = values


def test_a_folder_of_landslide4sense_needs_no_description(tmp_path, made_up_cube):
    """Each band differs, and so do rows and columns: no two axes can be swapped unseen."""
    rows, cols, bands = np.ogrid[:128, :128, :14]
    whole = 1000 * (bands + 1) + 3 * rows + cols
    config = chips_config(made_up_cube)
    assert config is None
    assert chips_config(tmp_path / "none") is None
    scale = np.array([band.scale for band in read_landslide4sense().bands])
    for number in (1, 10, 2):
        of_landslide4sense(tmp_path / "chips", number=number, image=whole / scale, mask=np.eye(128, dtype=np.uint8))
    config, chips = of_path(tmp_path / "chips")
    assert [chip.id for chip in chips] == ["1", "2", "10"]
    assert config.name == "Landslide4Sense chips (chips)"
    np.testing.assert_allclose(read_image(chips[0], config), whole.transpose(2, 0, 1), rtol=1e-6)
    np.testing.assert_array_equal(read_mask(chips[0], config), np.eye(128))
    (tmp_path / "chips" / "mask" / "mask_2.h5").unlink()
    assert refusal(of_path, tmp_path / "chips").endswith("found the image of 2 without mask, expected mask/mask_2.h5")


def read_landslide4sense():
    """Return the description that comes with the package."""
    from coslide.sources import chips

    return read_chips_config(chips._LANDSLIDE4SENSE)


def test_bands_of_landslide4sense_have_the_names_and_units_of_an_index_cube(made_up_cube):
    cube = {band.name: band.unit for band in open_cube(made_up_cube).inputs if not band.classes}
    own = {band.name: band.unit for band in read_landslide4sense().bands}
    shared = {"reflectance_post_B2", "reflectance_post_B3", "reflectance_post_B4", "slope", "elevation"}
    assert {name: cube[name] for name in shared} == {name: own[name] for name in shared}
    assert len(own) == 14


@pytest.mark.realdata
def test_real_samples_are_whole_numbers_and_plausible(data_folder):
    """The means are right if all values multiplied back are whole; B10 shows that no offset of 1000 is in them."""
    config, paths = read_landslide4sense(), sorted((data_folder / "landslide4sense-samples").glob("*.h5"))
    assert [path.stem for path in paths] == ["image_31", "image_52", "image_68", "image_90"]
    for path in paths:
        image = read_image(Chip(path.stem, "", path, path), config)
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
        by_row, by_col = np.gradient(image[13], 10.0)  # the slope is in degrees: per cent would be twice as much
        expected = np.degrees(np.arctan(np.hypot(by_row, by_col)))
        assert 0.8 < image[12].mean() / expected.mean() < 1.1
        assert np.corrcoef(image[12].ravel(), expected.ravel())[0, 1] > 0.7


@pytest.mark.realdata
def test_touching_edges_of_real_chips_agree_once_they_have_their_factors(data_folder, monkeypatch):
    """Kodagu, of the example: pixels on both sides of an edge are about as alike as two inside a chip."""
    from pathlib import Path

    monkeypatch.setenv("COSLIDE_DATA", str(data_folder))
    path = Path(__file__).parents[2] / "examples" / "chips" / "landslide4sense-rgb.toml"
    (mosaic,) = open_mosaics(chips_config(path.with_name(f"{path.name}#kodagu")))
    assert mosaic.labels.shape == (13 * 128, 21 * 128)
    assert mosaic.bounds is None
    assert mosaic.valid(slice(None)).mean() == pytest.approx(77 / (13 * 21), abs=1e-6)
    assert (mosaic.labels == 1).sum() / mosaic.valid(slice(None)).sum() == pytest.approx(0.038, abs=0.001)
    red = mosaic.read(slice(None))[0]
    steps = np.abs(np.diff(np.log(red + 1), axis=1))
    edges = np.arange(127, red.shape[1] - 1, 128)
    assert np.nanmedian(steps[:, edges]) < 1.5 * np.nanmedian(steps)
