"""Scores of the paper's protocol: each held-out sample predicted and scored by itself."""

from collections.abc import Sequence

import numpy as np

from coslide.evaluation.pixels import Confusion, PixelRates, confusion, scores
from coslide.evaluation.probabilities import apply_temperature
from coslide.evaluation.scores import SampleScores
from coslide.evaluation.scoring import mean_rates
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.model import Model
from coslide.pipeline.held_out import read_windows
from coslide.pipeline.labelled_scene import LabelledScene


def sample_scores(model: Model, scenes: Sequence[LabelledScene]) -> SampleScores:
    """Score a model on the held-out samples, as Yang et al. (2023) seem to have: averaged over samples, and pooled.

    Every labelled pixel of a sample counts, also one that a training sample shows: these scores are not of held-out
    pixels alone, and only stand beside those that are.
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
    pooled = scores(sum(rows, start=Confusion())).model_dump(include=set(PixelRates.model_fields))
    with_landslide = [scores(row) for row in rows if row.tp + row.fn]
    return SampleScores(count=len(rows), mean=mean_rates(with_landslide), pooled=PixelRates(**pooled))
