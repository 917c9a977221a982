"""Held-out windows as a model is fed them: to look into a network with, and to score samples by themselves."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from coslide.evaluation.pixels import PixelRates, confusion, scores
from coslide.evaluation.probabilities import apply_temperature
from coslide.evaluation.scores import SampleScores
from coslide.evaluation.scoring import mean_rates
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.diagnostics import HeldOut
from coslide.mapping.model import Model, ModelMetadata
from coslide.pipeline.labelled_scene import LabelledScene
from coslide.pipeline.predict import encoder_for
from coslide.samples.footprint import is_held_out
from coslide.windows import Window

_MOST = 32  # windows: enough to see what a depth is worth


def held_out_windows(scenes: Sequence[LabelledScene], metadata: ModelMetadata) -> HeldOut:
    """Read some of the held-out windows of all scenes, evenly chosen from those with a landslide to score.

    Without any landslide they are chosen from all.

    Parameters
    ----------
    scenes
        Split scenes; pixels that training saw do not count.
    metadata
        Of the model.
    """
    places = [(number, window) for number, scene in enumerate(scenes) for window in scene.split.test]

    def truth(number: int, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Find landslides, and what is scored."""
        labels, seen = (raster[window.slices] for raster in (scenes[number].labels, scenes[number].seen))
        return labels == LANDSLIDE, is_held_out(seen) & (labels != NODATA)

    telling = [place for place in places if np.logical_and(*truth(*place)).any()] or places
    numbers = np.unique(np.linspace(0, len(telling) - 1, min(len(telling), _MOST)).round().astype(int))
    chosen = [telling[number] for number in numbers]
    inputs = [
        encoded
        for number, scene in enumerate(scenes)
        for encoded in read_windows(scene, [window for at, window in chosen if at == number], metadata)
    ]
    landslide, scored = (np.stack(arrays) for arrays in zip(*(truth(*place) for place in chosen), strict=True))
    return HeldOut(np.stack(inputs), landslide, scored)


def read_windows(
    scene: LabelledScene, windows: Sequence[Window], metadata: ModelMetadata
) -> Iterator[NDArray[np.float32]]:
    """Read windows of a scene one after the other, encoded as a model is fed them, (input, row, col).

    Windows that follow each other on the same rows are cut from the same strip, which is decoded once.
    """
    if not windows:
        return
    encoder = encoder_for(metadata, scene.scene)
    for _, row in itertools.groupby(windows, key=lambda window: window.slices[0]):
        own = list(row)
        strip = scene.scene.read(own[0].slices[0], metadata.bands)
        for window in own:
            yield encoder.encode(np.ascontiguousarray(strip[:, :, window.slices[1]]))


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
    pooled = scores(*map(sum, zip(*rows, strict=True))).model_dump(include=set(PixelRates.model_fields))
    with_landslide = [scores(*row) for row in rows if row.tp + row.fn]
    return SampleScores(count=len(rows), mean=mean_rates(with_landslide), pooled=PixelRates(**pooled))
