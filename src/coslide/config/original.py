"""How each network was trained by its own authors, where that is known: changes of the settings of a training."""

from typing import Any

from coslide.config.training import TrainingSettings

_EXPOSURE = {f"optimiser.{name}" for name in ("batch", "epochs", "steps", "keep", "patience")}

# Read in the paper (Yang et al. 2023, doi:10.3390/rs15040977, section 4.2, Table 3): Adam, rate, decay, poly, the loss.
# It names neither gamma and eta nor the power, nor what decays: those are the readings that are the defaults here.
_YANG = {
    name: value
    for name, value in TrainingSettings().dotted().items()
    if name.startswith(("optimiser.", "loss.")) and name not in _EXPOSURE
}

# Read in public code of a co-author (github.com/shsun-xq/DeepUNet, trainSealand.py), which by its readme is not the
# paper's in all (Li et al. 2018, doi:10.1109/JSTARS.2018.2833382): optimiser, rate, momentum, decay and flips. That
# biases do not decay, and that the cross-entropy is a mean, is what MXNet does there by default (read in its code).
_LI: dict[str, Any] = {
    "optimiser.name": "sgd",
    "optimiser.learning_rate": 0.01,
    "optimiser.momentum": 0.9,
    "optimiser.weight_decay": 5e-4,
    "optimiser.decay": "weights",
    "optimiser.warmup_steps": 0,
    "optimiser.average": 0.0,
    "loss.gamma": 0.0,
    "loss.eta": 0.0,
    "loss.reduction": "mean",
    "augment.flips": True,
}

ORIGINAL: dict[str, dict[str, Any]] = {
    "egcn": _YANG,
    "egcn-msa": _YANG,
    "egcn-esa": _YANG,
    "acmix-unet": _YANG,
    "deepunet": _LI,
}
"""Changes of the settings by dotted names, of each network of which both optimiser and learning rate are known.

They change no split, sampling, input, batch or length: networks stay equally exposed to the same windows. What they
leave out, and what is known of the other networks, is in `docs/networks.md`.
"""
