"""What each recipe of a training changes of the defaults, which are those of the paper."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "modern": {
        "inputs": {"indices": "all"},
        "sampling": {"select": "prevalence", "places": "random"},
        "optimiser": {"learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "cosine", "average": 0.99, "steps": 960},
        "loss": {"reduction": "mean", "normalise": True, "scope": "batch"},
        "augment": {"jitter_gain": 0.2, "jitter_offset": 0.2, "jitter_band": 0.1, "band_dropout": 0.1},
        "runtime": {"precision": "auto"},
    },
    "transfer": {
        "network": "unet",
        "tta": True,
        "threshold": "scene",
        "inputs": {"indices": "all", "normalise": "event"},
        "split": {"validation_fraction": 0.1},
        "sampling": {
            "select": "prevalence",
            "places": "random",
            "balance": "events",
            "landslide_windows": 0.5,
            "shade": 0.5,
        },
        "optimiser": {
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "schedule": "cosine",
            "average": 0.99,
            "batch": 8,
            "steps": 1200,
        },
        "loss": {"gamma": 0.0, "reduction": "mean", "normalise": True, "scope": "batch"},
        "augment": {"flips": True, "zoom": 0.2, "relight": 1.0},
        "runtime": {"precision": "auto"},
    },
}
"""What each recipe changes of the defaults; the reasons are in `docs/training.md`."""
