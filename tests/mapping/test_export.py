"""The ONNX form, and what QGIS's plugin Deepness makes of it: the witness does what its documentation says."""

import json
import re
import shutil

import numpy as np
import pytest
import rasterio

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.probabilities import apply_temperature
from coslide.mapping import export
from coslide.mapping.export import beyond_deepness, export_onnx, onnx_predictors
from coslide.mapping.metadata import load_metadata
from coslide.mapping.model import load_model

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def bundle(made_up_model, tmp_path_factory):
    """A model with a temperature and its ONNX form."""
    folder = shutil.copytree(made_up_model, tmp_path_factory.mktemp("export") / "model")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(content | {"temperature": 1.7, "threshold": 0.35}), encoding="utf-8")
    (path,), apart = export_onnx(folder)
    assert path == folder / "model.onnx"
    assert 0 <= apart <= 1e-4
    return folder


@pytest.mark.slow
def test_deepness_finds_in_a_raster_of_the_models_bands_what_coslide_finds(bundle, made_up_cube, tmp_path):
    model, cube = load_model(bundle), open_cube(made_up_cube)
    side = model.metadata.tile
    values = cube.read(slice(0, side), model.metadata.bands)[:, :, :side].copy()
    values[:, 3:6, 4:9] = np.nan
    values[2, 20:, 20:] = np.nan
    profile = {"driver": "GTiff", "height": side, "width": side, "count": len(values), "dtype": "float32"}
    with rasterio.open(tmp_path / "bands.tif", "w", nodata=np.nan, transform=cube.grid.affine, **profile) as file:
        file.write(values)

    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    facts = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert given.shape[1:] == [len(values), side, side]
    assert made.shape[1:] == [1, side, side]  # one class, by a sigmoid
    with rasterio.open(tmp_path / "bands.tif") as file:
        tile = np.moveaxis(file.read(), 0, -1)[np.newaxis]  # (tile, row, col, band)
    scaled = np.float32(tile * 1.0 / 255.0)
    mean, std = (np.array(facts[f"standardization_{key}"], np.float32) for key in ("mean", "std"))
    standard = ((scaled - mean) / std).transpose(0, 3, 1, 2)
    found = session.run(None, {given.name: standard})[0][0, 0]

    expected = model.predictors()[0](model.metadata.encoder.encode(values.copy())[np.newaxis])[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    calibrated = apply_temperature(expected, 1.7)
    sure = np.abs(calibrated - 0.35) > 1e-3
    np.testing.assert_array_equal((found >= facts["seg_thresh"])[sure], (calibrated >= 0.35)[sure])


@pytest.mark.slow
def test_the_file_says_what_deepness_asks_for(bundle):
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    facts = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    metadata = load_metadata(bundle)
    assert facts["model_type"] == "Segmentor"
    assert facts["class_names"] == {"0": "landslide"}
    assert facts["resolution"] == 1000  # cm
    assert facts["tile_size"] == facts["tiles_size"] == metadata.tile
    assert facts["tiles_overlap"] == 25  # percent
    assert 0 < facts["seg_thresh"] < 0.35  # before the temperature, which draws 0.35 towards a half
    assert facts["inputs"] == list(metadata.encoder.names)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"members": 3}, "average the 3 members of the model"),
        ({"encoding": ("reflectance_post_B4", "light")}, "see reflectance in the light of each scene"),
        ({"tta": True}, "average eight orientations of each window"),
        ({"threshold_of": "scene"}, "choose a threshold for each scene"),
        ({"flags": ["shaking"]}, r"feed the presence of a source as an input \(has_shaking\)"),
        ({"encoding": ("aspect_class", "circular")}, r"encode a class map \(aspect_class\)"),
    ],
)
def test_what_deepness_cannot_do_is_said(made_up_model, changes, reason):
    metadata = load_metadata(made_up_model)
    assert beyond_deepness(metadata) == ""
    if how := changes.pop("encoding", None):
        channels = [
            one.model_copy(update={"encoding": how[1]}) if one.band.name == how[0] else one for one in metadata.channels
        ]
        changes = {"channels": channels}
    assert re.fullmatch(reason, beyond_deepness(metadata.model_copy(update=changes)))


@pytest.mark.slow
def test_a_file_for_another_program_holds_nothing_that_would_mislead_deepness(bundle, tmp_path, listening):
    folder = shutil.copytree(bundle, tmp_path / "model")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    next(one for one in content["channels"] if one["band"]["quantity"] == "reflectance")["encoding"] = "light"
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")
    said = listening()
    export_onnx(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert set(session.get_modelmeta().custom_metadata_map) == {"inputs"}
    [line] = [line for line in said if "Deepness" in line]
    assert line.startswith(
        f"{folder / 'model.onnx'}: not for QGIS's Deepness, which cannot see reflectance in the light of"
    )


@pytest.mark.slow
def test_a_file_that_is_cut_short_is_refused(bundle, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "model")
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model.onnx: cannot be used \(.*\); coslide export makes it again"):
        onnx_predictors(folder)


@pytest.mark.slow
def test_a_form_that_says_something_else_is_not_kept(made_up_model, tmp_path, monkeypatch):
    model = shutil.copytree(made_up_model, tmp_path / "model")
    real = export._predictor
    monkeypatch.setattr(export, "_predictor", lambda *of: lambda tiles: 1 - real(*of)(tiles))
    with pytest.raises(ValueError, match="differs from the network by"):
        export_onnx(model)
    assert not (model / "model.onnx").exists()


@pytest.mark.slow
def test_a_form_of_another_model_or_with_other_weights_is_refused(bundle, tmp_path):
    onnx = pytest.importorskip("onnx")
    folder = shutil.copytree(bundle, tmp_path / "model")
    program = onnx.load(folder / "model.onnx")
    for tensor in program.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
    onnx.save(program, folder / "model.onnx")
    with pytest.raises(InputError, match=r"model.onnx: cannot be used \(its probabilities differ from the network's"):
        onnx_predictors(folder)
