"""Whether a scene fits a model, and what is told where it was seen by another sensor."""

import pytest

from coslide.cube.band import Band
from coslide.mapping.inputs import inputs_mismatch, warn_of_another_sensor
from coslide.mapping.model import load_model


def seen_by(sensor):
    return [Band("reflectance_post_B4", date="post", provenance={"sensor": sensor} if sensor else {})]


@pytest.mark.parametrize(
    ("sensor", "trained", "warned"),
    [
        ("Landsat 8/9 (30 m)", ["Sentinel-2 (10 m)"], True),
        ("Sentinel-2 (10 m)", ["Sentinel-2 (10 m)", "Landsat 8/9 (30 m)"], False),
        ("", ["Sentinel-2 (10 m)"], False),
        ("Landsat 8/9 (30 m)", [], False),
    ],
)
def test_a_scene_of_another_sensor_is_warned_of(made_up_model, listening, sensor, trained, warned):
    messages = listening()
    metadata = load_model(made_up_model).metadata.model_copy(update={"sensors": trained})
    warn_of_another_sensor(metadata, seen_by(sensor), "index.zarr")
    assert len(messages) == warned
    if warned:
        assert "index.zarr: seen by Landsat 8/9 (30 m), the model was trained on Sentinel-2 (10 m)" in messages[0]


def test_a_model_of_other_pixels_says_how_to_build_the_cube(made_up_model):
    metadata = load_model(made_up_model).metadata
    assert metadata.sensors == []  # rasters do not tell
    text = inputs_mismatch(metadata, metadata.bands, 3.0)
    assert text == (
        "found pixels of 3 m, expected 10 m as it was trained: "
        "build the cube with grid.pixel_size_m = 10 in its event file"
    )
