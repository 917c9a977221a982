"""A cube that was damaged on its way is mapped right or refused in one line."""

import importlib.util
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from coslide.cube.cube import open_cube
from coslide.cube.export import write_cogs
from coslide.errors import InputError

SPEC = importlib.util.spec_from_file_location("damage", Path(__file__).with_name("damage.py"))
damage = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(damage)


@pytest.fixture
def copied(made_up_cube, tmp_path):
    return shutil.copytree(made_up_cube, tmp_path / "index.zarr")


@pytest.fixture(params=[2, 3])
def pristine(request, made_up_cube, tmp_path):
    """The cube as built, and written again in Zarr 3."""
    if request.param == 2:
        return made_up_cube
    with xr.open_zarr(made_up_cube, mask_and_scale=False) as dataset:
        for variable in dataset.variables.values():
            variable.encoding = {}
        dataset.to_zarr(tmp_path / "pristine.zarr", zarr_format=3, consolidated=False)
    return tmp_path / "pristine.zarr"


def read_all(path, out):
    cube = open_cube(path)
    assert cube.contents()
    assert cube.date
    write_cogs(cube, out)
    return cube.read(bands=cube.bands), cube.grid


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore")
def test_every_file_of_a_cube_may_be_damaged_in_any_way(pristine, tmp_path, seed):
    expected, grid = read_all(pristine, tmp_path / "cogs")
    dice, wrong = random.Random(seed), []  # noqa: S311
    for number in range(len(damage.files_of(pristine))):
        path = shutil.copytree(pristine, tmp_path / "damaged.zarr")
        what = damage.damage(damage.files_of(path)[number], dice)
        try:
            found, place = read_all(path, tmp_path / "cogs")
        except InputError as error:
            if "\n" in str(error) or len(str(error)) > 2000 or "damaged.zarr" not in str(error):
                wrong.append(f"{what}: {error}")
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{what}: {type(error).__name__}: {error}")
        else:
            if " flipped" not in what:
                same = place == grid and np.array_equal(found, expected[: len(found)], equal_nan=True)
                wrong += [] if same or " changed " in what else [f"{what}: other values"]
        shutil.rmtree(path)
    assert not wrong, "\n".join(wrong)


def test_a_cube_whose_bands_have_lost_their_names_is_refused(copied):
    (copied / "band" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["other"]}')
    (copied / ".zmetadata").unlink(missing_ok=True)
    with pytest.raises(InputError, match="found no coordinate band with the names of its bands"):
        open_cube(copied)
