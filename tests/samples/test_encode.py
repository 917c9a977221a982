"""How the bands of a cube become the inputs of a network."""

import numpy as np
import pytest

from coslide.cube.band import Band, optional_groups
from coslide.errors import InputError
from coslide.indices.derivatives import ASPECT_CLASSES, slope_aspect_curvature
from coslide.samples.augment import apply_dihedral, turn_inputs
from coslide.samples.encode import Encoder, Moments, Normalisation, choose_encodings

ASPECT = Band("aspect_class", kind="circular", class_names=ASPECT_CLASSES)
PGA = Band(
    "pga_class", kind="ordinal", class_names=tuple("012345"), first_class=0, group="shaking", optional=True,
    measured="pga",
)  # fmt: skip
SLOPE = Band("slope", "degree")
PRE = Band("reflectance_pre_B2", channel="B2", quantity="reflectance", date="pre", group="scene_before", optional=True)


def encoder(bands, encodings, flags=()):
    measured = np.array([band.classes == 0 for band in bands])
    offset, scale = Moments(bands).normalisation()
    same = Normalisation(np.where(measured, np.float32(0), offset), np.where(measured, np.float32(1), scale))
    return Encoder(tuple(bands), encodings, flags, same)


def column(*values):
    return np.array(values, dtype=np.float32)[:, None]


def test_neighbouring_directions_are_near_and_opposite_ones_far_on_a_circle_only():
    classes = np.arange(2, 10, dtype=np.float32)[None, None]  # N, NE ... NW
    on_circle = encoder([ASPECT], ("circular",)).encode(classes.copy())[:, 0]
    in_order = encoder([ASPECT], ("ordinal",)).encode(classes.copy())[:, 0]
    steps = [np.linalg.norm(inputs - np.roll(inputs, -1, axis=1), axis=0) for inputs in (on_circle, in_order)]
    np.testing.assert_allclose(steps[0], 2 * np.sin(np.pi / 8), rtol=1e-6)
    assert steps[1].max() == pytest.approx(7 * steps[1].min(), rel=1e-5)  # from north-west to north


def test_sine_and_cosine_are_those_of_the_aspect_of_the_terrain():
    """The witness is the terrain kernel: a plane that falls to the east has aspect 90 degrees."""
    aspect_deg = slope_aspect_curvature(-np.arange(5, dtype=np.float32) * np.ones((5, 1), np.float32), 10.0).aspect_deg
    east = np.full((1, 1, 1), 4, dtype=np.float32)  # class 4
    found = encoder([ASPECT], ("circular",)).encode(east).ravel()
    angle = np.radians(aspect_deg[2, 2])
    np.testing.assert_allclose(found, [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_flat_and_missing_have_no_direction():
    assert not encoder([ASPECT], ("circular",)).encode(np.array([[[1, np.nan]]], dtype=np.float32)).any()


@pytest.mark.parametrize("encoding", ["ordinal", "onehot"])
def test_no_class_is_fed_as_a_missing_one_is(encoding):
    """Class 0, the weakest shaking, used to be fed as a pixel without any."""
    seen = encoder([PGA], (encoding,)).encode(np.array([[[np.nan, 0, 1, 2, 3, 4, 5]]], dtype=np.float32))[:, 0]
    assert len({tuple(pixel) for pixel in seen.T.tolist()}) == 7
    assert not seen[:, 0].any()


def test_a_flag_tells_a_missing_value_from_the_mean():
    seen = encoder([PRE, SLOPE], ("continuous", "continuous"), ("scene_before",)).encode(
        np.array([[[0.0, np.nan]], [[1.0, 1.0]]], dtype=np.float32)
    )
    assert seen[:, 0].tolist() == [[0, 0], [1, 1], [1, 0]]


def test_inputs_have_names_groups_dates_and_aspect():
    found = encoder([PRE, ASPECT, PGA], ("continuous", "onehot", "ordinal"), ("scene_before",))
    assert found.names == (
        "reflectance_pre_B2",
        *(f"aspect_class_{k}" for k in range(1, 10)),
        "pga_class",
        "has_scene_before",
    )
    assert optional_groups(found.inputs) == {"scene_before": [0, 11], "shaking": [10]}
    assert found.dates == [[0]]
    assert found.aspect == ("onehot", 1, 9)


@pytest.mark.parametrize("encoding", ["ordinal", "onehot", "circular"])
@pytest.mark.parametrize("orientation", range(8))
def test_aspect_turns_with_the_terrain_in_every_encoding(encoding, orientation):
    """Turned inputs are those of turned classes; that classes turn rightly is checked against the terrain kernel."""
    from coslide.samples.augment import turn_aspect

    classes = np.random.default_rng(0).integers(1, 10, (6, 6))
    how = encoder([ASPECT], (encoding,))
    found = turn_inputs(how.encode(classes[None].astype(np.float32)), orientation, aspect=how.aspect)
    expected = how.encode(
        turn_aspect(apply_dihedral(classes, orientation), orientation, last=9)[None].astype(np.float32)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_measurement_behind_a_class_map_is_fed_where_the_cube_has_it():
    measured = Band("pga", "g")
    assert choose_encodings([PGA, measured], {"pga_class": "continuous"}) == ((measured,), ("continuous",))
    assert choose_encodings([PGA], {"pga_class": "continuous"}) == ((PGA,), ("ordinal",))


@pytest.mark.parametrize(("band", "encoding"), [(PGA, "circular"), (SLOPE, "onehot"), (ASPECT, "sideways")])
def test_an_encoding_that_does_not_go_with_its_band_is_refused(band, encoding):
    with pytest.raises(InputError, match=f"training.inputs.encoding: found '{encoding}' for {band.name}, expected"):
        choose_encodings([band], {band.name: encoding})
