"""Scores of the paper's protocol: each held-out sample predicted and scored by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from coslide.evaluation.calibration import apply_temperature
from coslide.evaluation.pixels import Confusion, confusion, scores
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.model import Model
from coslide.pipeline.held_out import read_windows
from coslide.pipeline.labelled_scene import LabelledScene

AVERAGED = ("oa", "miou", "miou_paper", "kappa", "f1", "precision", "recall", "iou_landslide")


def sample_scores(model: Model, scenes: Sequence[LabelledScene]) -> dict[str, Any]:
    """Score a model on the held-out samples, as Yang et al. (2023) seem to have: averaged over samples, and pooled.

    Every labelled pixel of a sample counts, also one that a training sample shows: these scores are not of held-out
    pixels alone, and only stand beside those that are.

    Returns
    -------
    dict
        ``count``, ``mean`` and ``pooled``, each of the last two with the scores of `AVERAGED`. The mean is over the
        samples that hold a landslide.
    """
    predictors = model.predictors()
    rows = []
    for scene in scenes:
        test = scene.split.test
        for window, inputs in zip(test, read_windows(scene, test, model.metadata), strict=True):
            labels = scene.labels[window.slices]
            given = np.stack([predict(inputs[None])[0] for predict in predictors]).mean(axis=0)
            recognised = apply_temperature(given, model.metadata.temperature) >= model.metadata.threshold
            rows.append(confusion(recognised, labels == LANDSLIDE, labels != NODATA))
    each = [scores(row) for row in rows if row.tp + row.fn]
    pooled = scores(sum(rows, start=Confusion()))
    return {
        "count": len(rows),
        "mean": {name: float(np.mean([row[name] for row in each])) for name in AVERAGED} if each else {},
        "pooled": {name: float(pooled[name]) for name in AVERAGED},
    }
