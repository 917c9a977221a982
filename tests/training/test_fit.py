"""Training: it learns, it is repeatable, and a kill costs nothing but time."""

import csv
import json
import os
import pickle  # noqa: TID251 - to see that nothing is unpickled
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from coslide.config.training import LossSettings, TrainingSettings
from coslide.cube.band import Band
from coslide.errors import InputError
from coslide.evaluation.pixels import confusion, scores
from coslide.samples.dataset import Raster, Tiles
from coslide.samples.split import Subset
from coslide.training.checkpoints import weights_of
from coslide.training.fit import TrainingData, fit, network_options, require_trainable
from coslide.training.loss import ClassBalancedFocalLoss, class_weights, label_counts
from coslide.training.module import Training
from coslide.windows import Window, windows_in

BANDS = [Band("signal"), Band("other")]
SETTINGS = TrainingSettings(
    width=8,
    sampling={"tile": 32, "stride": 32},
    optimiser={"epochs": 2, "learning_rate": 2e-3},
    augment={"flips": True},
    loss={"scope": "batch", "reduction": "mean", "normalise": True},
)

KILLED = """
import pathlib, sys
from tests_training import data, SETTINGS
from coslide.training.fit import fit
fit(data(), SETTINGS.changed({"optimiser.epochs": 3}), pathlib.Path(sys.argv[1]))
"""


def tiles():
    """Two channels of noise; landslides where the first is high and the second is low."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2, 64, 96)).astype(np.float32)
    inputs = np.round(inputs.repeat(8, axis=1).repeat(8, axis=2)[:, :64, :96], 2)
    labels = ((inputs[0] > 0.3) & (inputs[1] < 0.3)).astype(np.uint8)
    parts = np.full(labels.shape, Subset.TRAIN, dtype=np.uint8)
    return Tiles([Raster(inputs, labels, parts)], [windows_in(Window(0, 0, 64, 96), tile=32, stride=32)])


def data(*, validated=False, **fingerprints):
    return TrainingData(tiles(), BANDS, tiles() if validated else None, fingerprints)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return weights(fit(data(), SETTINGS, tmp_path_factory.mktemp("fit")))


def test_training_lowers_the_loss(tmp_path):
    fit(data(), SETTINGS.changed({"optimiser.epochs": 15}), tmp_path)
    log = (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    column = log[0].split(",").index("loss_epoch")
    losses = [float(line.split(",")[column]) for line in log[1:] if line.split(",")[column]]
    assert losses[-1] < 0.6 * losses[0]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path, uninterrupted):
    again = weights(fit(data(), SETTINGS, tmp_path / "a"))
    other = weights(fit(data(), SETTINGS.changed(seed=1), tmp_path / "b"))
    assert torch.equal(again, uninterrupted)
    assert not torch.allclose(other, uninterrupted)


def test_a_training_resumed_after_an_epoch_ends_as_an_uninterrupted_one(tmp_path, uninterrupted, monkeypatch):
    real, seen = Training.training_step, []

    def killed_in_the_second_epoch(self, batch, batch_idx):
        seen.append(batch_idx)
        if len(seen) == 4:  # two steps an epoch: the checkpoint of the first epoch is all that is left
            raise RuntimeError("killed")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", killed_in_the_second_epoch)
    with pytest.raises(RuntimeError, match="killed"):
        fit(data(), SETTINGS, tmp_path)
    monkeypatch.setattr(Training, "training_step", real)
    resumed = weights(fit(data(), SETTINGS, tmp_path, resume=True))
    assert len(seen) == 4
    torch.testing.assert_close(resumed, uninterrupted, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_process_killed_outright_can_be_resumed(tmp_path, request):
    """SIGKILL at an arbitrary moment after the first checkpoint: no handler runs."""
    code = "import sys; sys.path.insert(0, sys.argv[2])\n" + KILLED.replace("tests_training", "test_fit")
    command = [sys.executable, "-c", code, str(tmp_path), str(request.path.parent)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    deadline = time.monotonic() + 300  # on a busy machine
    while not (tmp_path / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "last.ckpt").exists()
    settings = SETTINGS.changed({"optimiser.epochs": 3})
    resumed = weights(fit(data(), settings, tmp_path, resume=True))
    whole = weights(fit(data(), settings, tmp_path / "whole"))
    torch.testing.assert_close(resumed, whole, rtol=0, atol=1e-6)


def test_a_disk_that_fills_keeps_the_last_whole_checkpoint(small_disk, uninterrupted):
    """The disk holds one checkpoint (7.4 MB) and not a second one beside it."""
    folder = small_disk(10_000)
    with pytest.raises(InputError, match="the disk is full"):
        fit(data(), SETTINGS, folder)
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
    assert not list(folder.glob(".*part*"))
    enough = small_disk(30_000)
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, enough)
    resumed = weights(fit(data(), SETTINGS, enough, resume=True))
    torch.testing.assert_close(resumed, uninterrupted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, -signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_process_asked_to_end_does_not_end_as_if_it_had_finished(tmp_path, request, sent, code):
    """SIGTERM, as a batch system or a container sends it, or Ctrl-C; the last whole epoch is kept."""
    # A shell that starts tests in the background lets its children ignore Ctrl-C.
    heard = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script = heard + "sys.path.insert(0, sys.argv[2])\n" + KILLED.replace("tests_training", "test_fit")
    command = [
        sys.executable,
        "-c",
        script.replace('epochs": 3', 'epochs": 500'),
        str(tmp_path),
        str(request.path.parent),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    deadline = time.monotonic() + 300  # on a busy machine
    while not (tmp_path / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        process.send_signal(sent)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert (tmp_path / "last.ckpt").exists()


KEPT = SETTINGS.changed({"optimiser.epochs": 1, "optimiser.keep": "best", "split.validation_fraction": 0.1})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that keeps its best epoch, which has ended."""
    folder = tmp_path_factory.mktemp("trained")
    fit(data(validated=True), KEPT, folder)
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder_instead(path):
    path.unlink()
    path.mkdir()


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere")


def text(content):
    return lambda path: path.write_text(content)


def pickled(path):
    path.write_bytes(pickle.dumps({"state_dict": {}}))


def rewritten(change):
    def write(path):
        content = torch.load(path, weights_only=True)
        torch.save(change(content) or content, path)

    return write


def filled(value):
    return rewritten(lambda content: [one.fill_(value) for one in content["state_dict"].values()] and None)


def moments(content):
    content["optimizer_states"][0]["state"][0]["exp_avg"].fill_(float("nan"))


FILES = ("last.ckpt", "best.ckpt", "settings.json")
CHECKPOINTS = FILES[:2]
DAMAGE = [
    *((name, way) for name in FILES for way in (cut, text(""), text("<html>"), fifo, folder_instead, link_to_nothing)),
    *((name, way) for name in CHECKPOINTS for way in (flipped, pickled, filled(float("nan")), filled(float("-inf")))),
    *((name, filled(1e38)) for name in CHECKPOINTS),
    *((name, rewritten(lambda _: {"network": torch.zeros(3)})) for name in CHECKPOINTS),
    *((name, rewritten(lambda of: {**of, "state_dict": {5: torch.zeros(3)}})) for name in CHECKPOINTS),
    *((name, rewritten(lambda of: {**of, "state_dict": [[1]]})) for name in CHECKPOINTS),
    *((name, rewritten(lambda of: {**of, "state_dict": {"network.a": torch.zeros(3)}})) for name in CHECKPOINTS),
    *((name, rewritten(lambda of: {**of, "state_dict": dict.fromkeys(of["state_dict"], 7)})) for name in CHECKPOINTS),
    ("last.ckpt", rewritten(moments)),
    ("last.ckpt", rewritten(lambda of: {key: of[key] for key in ("state_dict", "optimizer_states")})),
    ("last.ckpt", rewritten(lambda of: {**of, "loops": {"fit_loop": 7}})),
    ("last.ckpt", rewritten(lambda of: {**of, "callbacks": {"EarlyStopping": 7}})),
    ("last.ckpt", rewritten(lambda of: {**of, "optimizer_states": 7})),
    ("last.ckpt", rewritten(lambda of: {**of, "lr_schedulers": [7]})),
    *(("settings.json", text(one)) for one in ('{"a":' * 100_000, "[1]", '{"seed": NaN}', "{}")),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_training_of_which_a_file_is_damaged_is_not_resumed_and_its_line_says_what_helps(
    trained, tmp_path, name, damage
):
    folder = shutil.copytree(trained, tmp_path / "run")
    damage(folder / name)
    signal.alarm(20)  # reading a FIFO would never end
    try:
        with pytest.raises(InputError) as caught:
            fit(data(validated=True), KEPT, folder, resume=True)
    finally:
        signal.alarm(0)
    assert str(folder / name) in str(caught.value)
    assert len(str(caught.value)) < 2001


def test_a_damaged_checkpoint_is_never_unpickled(trained, tmp_path):
    """What a pickle would run when it is read is not run."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    folder = shutil.copytree(trained, tmp_path / "run")
    for content in (pickle.dumps(Evil()), None):
        if content is None:
            torch.save({"state_dict": Evil()}, folder / "last.ckpt")
        else:
            (folder / "last.ckpt").write_bytes(content)
        with pytest.raises(InputError, match="cannot be resumed"):
            fit(data(validated=True), KEPT, folder, resume=True)
    assert not (tmp_path / "owned").exists()


def test_a_training_that_diverges_is_refused(tmp_path):
    with pytest.raises(InputError, match="the training diverged"):
        fit(data(), SETTINGS.changed({"optimiser.learning_rate": 1000.0}), tmp_path)


def test_the_settings_reach_the_optimiser_the_schedule_and_the_loss():
    settings = SETTINGS.changed(
        {
            "optimiser.weight_decay": 0.5,
            "optimiser.poly_power": 2.0,
            "loss.gamma": 1.5,
            "loss.eta": 0.9,
            "loss.scope": "batch",
            "loss.reduction": "mean",
            "loss.normalise": True,
        }
    )
    training = Training(torch.nn.Conv2d(2, 2, 1), settings, total_steps=10)
    found = training.configure_optimizers()
    adam, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert type(adam) is torch.optim.Adam
    assert adam.param_groups[0]["weight_decay"] == 0.5
    for _ in range(5):
        adam.step()
        schedule.step()
    assert adam.param_groups[0]["lr"] == pytest.approx(2e-3 * 0.5**2)
    logits = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = (logits[:, 0] > 0.5).long()
    expected = ClassBalancedFocalLoss(
        LossSettings(eta=0.9, gamma=1.5, scope="batch", reduction="mean", normalise=True)
    )(logits, labels)
    assert torch.equal(training._loss(logits, labels), expected)
    assert not torch.equal(ClassBalancedFocalLoss()(logits, labels), expected)


def test_resuming_a_finished_training_returns_its_weights(tmp_path):
    first = weights(fit(data(), SETTINGS, tmp_path))
    assert torch.equal(weights(fit(data(), SETTINGS, tmp_path, resume=True)), first)


def test_a_training_is_not_overwritten_and_not_resumed_with_other_settings(tmp_path):
    fit(data(), SETTINGS.changed({"optimiser.epochs": 1}), tmp_path)
    with pytest.raises(InputError, match="already holds a training; use --resume"):
        fit(data(), SETTINGS.changed({"optimiser.epochs": 1}), tmp_path)
    with pytest.raises(InputError, match=r"found optimiser.epochs = 1, expected 2 to resume"):
        fit(data(), SETTINGS, tmp_path, resume=True)


@pytest.mark.parametrize("key", ["seed", "optimiser.learning_rate"])
def test_a_training_whose_record_lacks_a_setting_is_not_resumed(trained, tmp_path, key):
    folder = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((folder / "settings.json").read_text())
    expected = record.pop(key)
    (folder / "settings.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"found {key} = None, expected {expected!r} to resume; use another --out"):
        fit(data(validated=True), KEPT, folder, resume=True)


def test_a_setting_that_is_newer_than_a_training_was_at_its_default(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((folder / "settings.json").read_text())
    del record["optimiser.momentum"]
    (folder / "settings.json").write_text(json.dumps(record))
    fit(data(validated=True), KEPT, folder, resume=True)
    (folder / "settings.json").write_text(json.dumps({**record, "optimiser.name": "sgd"}))
    other = KEPT.changed({"optimiser.name": "sgd", "optimiser.momentum": 0.5})
    with pytest.raises(InputError, match=r"found optimiser.momentum = 0.0, expected 0.5 to resume"):
        fit(data(validated=True), other, folder, resume=True)


def test_a_training_is_not_resumed_on_another_cube(tmp_path):
    settings = SETTINGS.changed({"optimiser.epochs": 1})
    fit(data(cube="a", parts="p"), settings, tmp_path)
    with pytest.raises(InputError, match="found cube = 'a', expected 'b' to resume; the cube has changed since"):
        fit(data(cube="b", parts="p"), settings, tmp_path, resume=True)


def test_the_settings_are_written_down_before_training(tmp_path):
    fit(data(), SETTINGS.changed({"optimiser.epochs": 1}), tmp_path)
    record = json.loads((tmp_path / "settings.json").read_text())
    assert (record["width"], record["augment.flips"], record["tiles"]) == (8, True, 6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the width of a GPU is another")
def test_the_width_on_a_cpu_is_16_unless_given():
    assert network_options(TrainingSettings(), []) == {"width": 16}
    assert network_options(TrainingSettings(network="deepunet"), []) == {"width": 8}
    assert network_options(TrainingSettings(width=64), []) == {"width": 64}


def test_options_of_the_settings_reach_the_network():
    settings = TrainingSettings(width=16, options={"k": 4, "up_mode": "nearest"})
    assert network_options(settings, []) == {"width": 16, "k": 4, "up_mode": "nearest"}


def test_a_tile_whose_smallest_map_is_one_pixel_is_refused_for_batch_normalisation():
    with pytest.raises(InputError, match="tile: found 64, expected at least 128 to train deepunet"):
        require_trainable(TrainingSettings(network="deepunet", sampling={"tile": 64, "stride": 64}))


def test_random_states_of_the_caller_do_not_matter(tmp_path, uninterrupted):
    torch.manual_seed(os.getpid())
    assert torch.equal(weights(fit(data(), SETTINGS, tmp_path)), uninterrupted)


def logged(folder, name):
    """The values of a column of the newest log, epoch by epoch."""
    log = max((folder / "csv").glob("version_*"), key=lambda path: int(path.name.split("_")[1])) / "metrics.csv"
    with log.open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


MODERN = SETTINGS.changed(
    {
        "optimiser.name": "adamw",
        "optimiser.decay": "weights",
        "optimiser.weight_decay": 0.01,
        "optimiser.warmup_steps": 2,
        "optimiser.schedule": "cosine",
        "optimiser.average": 0.9,
        "augment.jitter_gain": 0.2,
        "split.validation_fraction": 0.1,
    }
)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path, uninterrupted):
    """Gloo on a CPU: the last batch has two tiles of four, and the class counts of a batch are those of both halves."""
    settings = SETTINGS.changed({"runtime.devices": 2})
    shared = weights(fit(data(), settings, tmp_path / "two"))
    apart = (shared - uninterrupted).abs()  # sums in another order; where a gradient is near 0, Adam makes it larger
    assert apart.max() < 2e-4  # a tenth of one step
    assert apart.mean() < 1e-8


@pytest.mark.slow
def test_an_error_in_one_of_two_processes_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^the training diverged in epoch 0: the loss is nan"):
        fit(data(), SETTINGS.changed({"runtime.devices": 2, "optimiser.learning_rate": 1000.0}), tmp_path)


def test_a_modern_training_resumed_after_a_kill_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    """Moving average, warm-up, jitter and validation: weights and losses to 1e-6."""
    settings = MODERN.changed({"optimiser.epochs": 3, "optimiser.batch": 2})
    whole = weights(fit(data(validated=True), settings, tmp_path / "whole"))
    real, seen = Training.training_step, []

    def killed_in_the_third_epoch(self, batch, batch_idx):
        seen.append(batch_idx)
        if len(seen) == 8:
            raise RuntimeError("killed")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", killed_in_the_third_epoch)
    with pytest.raises(RuntimeError, match="killed"):
        fit(data(validated=True), settings, tmp_path / "cut")
    monkeypatch.setattr(Training, "training_step", real)
    resumed = weights(fit(data(validated=True), settings, tmp_path / "cut", resume=True))
    torch.testing.assert_close(resumed, whole, rtol=0, atol=1e-6)
    for name in ("loss_epoch", "val_loss", "val_f1"):
        expected = logged(tmp_path / "whole", name)[2:]
        np.testing.assert_allclose(logged(tmp_path / "cut", name), expected, atol=1e-6)


@pytest.mark.slow
def test_a_training_at_random_places_resumed_after_a_kill_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    """Four steps are four rounds; the kill comes in the third."""
    settings = TrainingSettings(
        recipe="modern",
        width=8,
        sampling={"tile": 32, "stride": 32},
        optimiser={"steps": 4},
        runtime={"precision": "32"},
    )
    whole = weights(fit(data(), settings, tmp_path / "whole"))
    real = Training.training_step

    def killed(self, batch, batch_idx):
        if self.current_epoch == 2:
            raise RuntimeError("killed")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        fit(data(), settings, tmp_path / "cut")
    monkeypatch.setattr(Training, "training_step", real)
    resumed = weights(fit(data(), settings, tmp_path / "cut", resume=True))
    torch.testing.assert_close(resumed, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["{", "{}", '{"precision": "8"}'])
def test_a_kept_precision_that_cannot_be_read_is_one_line(tmp_path, text):
    (tmp_path / "precision.json").write_text(text)
    with pytest.raises(InputError, match=r"precision\.json: .*; remove it$"):
        fit(data(), SETTINGS.changed({"optimiser.epochs": 1, "runtime.precision": "auto"}), tmp_path)


def test_a_kept_precision_is_taken_and_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("coslide.networks.precision._least_s", lambda *_, **__: pytest.fail("tried again"))
    (tmp_path / "precision.json").write_text('{"precision": "bf16"}')
    fit(data(), SETTINGS.changed({"optimiser.epochs": 1, "runtime.precision": "auto"}), tmp_path)
    assert json.loads((tmp_path / "settings.json").read_text())["runtime.precision"] == "bf16"


def test_the_average_of_the_weights_is_what_is_kept(tmp_path):
    """The witness follows the optimiser step by step: w_avg <- 0.9 w_avg + 0.1 w."""
    followed = []

    class Followed(Training):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            now = weights(self.network).clone()
            followed.append(now if not followed else 0.9 * followed[-1] + 0.1 * now)

    settings = SETTINGS.changed({"optimiser.average": 0.9})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coslide.training.fit.Training", Followed)
        kept = weights(fit(data(), settings, tmp_path))
    torch.testing.assert_close(kept, followed[-1], rtol=0, atol=1e-6)
    finished = weights(fit(data(), settings, tmp_path, resume=True))
    assert torch.equal(finished, kept)


def test_the_best_epoch_on_the_validation_part_is_kept_if_asked(tmp_path):
    settings = SETTINGS.changed(
        {
            "optimiser.epochs": 6,
            "optimiser.learning_rate": 2e-2,
            "split.validation_fraction": 0.1,
            "optimiser.keep": "best",
        }
    )
    kept = fit(data(validated=True), settings, tmp_path)
    scores = logged(tmp_path, "val_f1")
    assert len(scores) == 6
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == int(np.argmax(scores))
    best, last = weights_of(tmp_path / "best.ckpt"), weights_of(tmp_path / "last.ckpt")
    assert all(torch.equal(tensor, best[name]) for name, tensor in kept.state_dict().items())
    assert not all(torch.equal(tensor, last[name]) for name, tensor in kept.state_dict().items())


def test_a_training_that_ended_early_is_not_trained_on_when_resumed(tmp_path):
    settings = SETTINGS.changed(
        {
            "optimiser.epochs": 12,
            "optimiser.learning_rate": 1e-12,
            "split.validation_fraction": 0.1,
            "optimiser.patience": 2,
        }
    )
    first = weights(fit(data(validated=True), settings, tmp_path))
    again = weights(fit(data(validated=True), settings, tmp_path, resume=True))
    assert torch.equal(again, first)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize("moved", [False, True])
def test_the_best_epoch_before_a_kill_stays_the_best(tmp_path, monkeypatch, moved):
    """F1 of the epochs is made up: the second is the best, and the kill comes in the third."""
    made_up, real = [0.1, 0.9, 0.5, 0.2], Training.log

    def logged_as_made_up(self, name, value, **options):
        real(self, name, torch.tensor(made_up[self.current_epoch]) if name == "val_f1" else value, **options)

    def killed(self, batch, batch_idx):
        if self.current_epoch == 2:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    step = Training.training_step
    monkeypatch.setattr(Training, "log", logged_as_made_up)
    monkeypatch.setattr(Training, "training_step", killed)
    settings = SETTINGS.changed({"optimiser.epochs": 4, "split.validation_fraction": 0.1, "optimiser.keep": "best"})
    with pytest.raises(RuntimeError, match="killed"):
        fit(data(validated=True), settings, tmp_path / "a")
    monkeypatch.setattr(Training, "training_step", step)
    folder = (tmp_path / "a").rename(tmp_path / "b") if moved else tmp_path / "a"
    fit(data(validated=True), settings, folder, resume=True)
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == 1


def test_validation_f1_is_that_of_all_its_pixels_together(tmp_path):
    network = fit(data(validated=True), SETTINGS.changed({"split.validation_fraction": 0.1}), tmp_path)
    held_out = tiles()
    found = [held_out[draw] for draw in held_out.draws]
    with torch.no_grad():
        predicted = network(torch.stack([seen for seen, _ in found])).softmax(1)[:, 1] >= 0.5
    truth = torch.stack([labels for _, labels in found]) == 1
    expected = scores(*confusion(predicted.numpy(), truth.numpy())).f1
    assert logged(tmp_path, "val_f1")[-1] == pytest.approx(expected, abs=1e-6)


def test_training_ends_early_when_validation_does_not_rise(tmp_path):
    settings = SETTINGS.changed(
        {
            "optimiser.epochs": 40,
            "optimiser.learning_rate": 1e-12,
            "split.validation_fraction": 0.1,
            "optimiser.patience": 2,
        }
    )
    fit(data(validated=True), settings, tmp_path)
    assert len(logged(tmp_path, "val_f1")) == 3


def test_the_class_ratio_is_logged_as_the_loss_weighs(tmp_path):
    settings = SETTINGS.changed(
        {"optimiser.epochs": 1, "optimiser.batch": 6, "loss.eta": 0.9999, "augment.flips": False}
    )
    fit(data(), settings, tmp_path)
    made = tiles()
    counts = label_counts(torch.stack([made[draw][1] for draw in made.draws]), 2).sum(0)
    background, landslide = class_weights(counts, 0.9999).tolist()
    assert logged(tmp_path, "class_ratio") == [pytest.approx(landslide / background, rel=1e-5)]


def test_only_weights_of_more_than_one_dimension_decay_if_asked():
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.GroupNorm(1, 4), torch.nn.Conv2d(4, 2, 1))
    found = Training(network, MODERN, total_steps=10).configure_optimizers()["optimizer"]
    assert type(found) is torch.optim.AdamW
    decaying, others = found.param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.01, 0)
    assert {p.ndim for p in decaying["params"]} == {4}
    assert len(decaying["params"]) + len(others["params"]) == len(list(network.parameters()))


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    settings = SETTINGS.changed({"optimiser.epochs": 1})
    fit(data(), settings, tmp_path / "egcn")
    fit(data(), settings.changed(network="unet"), tmp_path / "unet")
    shutil.copy(tmp_path / "unet" / "last.ckpt", tmp_path / "egcn" / "last.ckpt")
    with pytest.raises(InputError, match="last.ckpt: is of another network than egcn"):
        fit(data(), settings, tmp_path / "egcn", resume=True)


def test_bf16_trains_on_a_cpu_and_half_precision_asks_for_a_gpu(tmp_path):
    fit(data(), SETTINGS.changed({"optimiser.epochs": 1, "runtime.precision": "bf16"}), tmp_path / "a")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="precision: found 16, which needs a GPU"):
            fit(data(), SETTINGS.changed({"optimiser.epochs": 1, "runtime.precision": "16"}), tmp_path / "b")
