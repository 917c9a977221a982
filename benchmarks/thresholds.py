"""Rules that choose a threshold without any label, compared on the unseen events of a study.

    python benchmarks/thresholds.py STUDY

STUDY is the folder of `coslide study transfer`. The model of each run maps its unseen event, and each rule chooses a
threshold from all of the map. F1 at it on the labelled pixels is compared with that at the one that is best there.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coslide.config.records import read_record
from coslide.evaluation.pixels import confusion, scores
from coslide.evaluation.probabilities import best_threshold, curve
from coslide.evaluation.study import Run, Study
from coslide.evaluation.unlabelled import Expectation
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.model import Model, load_model
from coslide.pipeline.labelled_scene import open_labelled_scenes
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.samples.split import landslide_share

ALMOST = 1e-6
Floats = NDArray[np.float64]


def expected_f1(probability: Floats, prior: float) -> float:
    """Choose what the probabilities lead to expect the highest F1 at, as `threshold = "scene"` does."""
    expectation = Expectation()
    expectation.add(probability)
    return expectation.threshold


def same_area(probability: Floats, prior: float) -> float:
    """Recognise as many pixels as the probabilities add up to."""
    return float(np.quantile(probability, 1 - probability.mean()))


def same_share(probability: Floats, prior: float) -> float:
    """Recognise as large a share as landslides had of the training events."""
    return float(np.quantile(probability, 1 - prior))


def otsu(probability: Floats, prior: float) -> float:
    """Make two classes as far apart as they can be (Otsu 1979, doi:10.1109/TSMC.1979.4310076)."""
    counts, edges = np.histogram(probability, 1000, (0, 1))
    middles = (edges[1:] + edges[:-1]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    apart = (sums[-1] / below[-1] * below - sums)[:-1] ** 2 / np.maximum(below * (below[-1] - below), 1)[:-1]
    return float(edges[1:-1][np.argmax(apart)])


def entropy(probability: Floats, prior: float) -> float:
    """Make two classes with the most entropy together (Kapur et al. 1985, doi:10.1016/0734-189X(85)90125-2)."""
    counts, edges = np.histogram(probability, 256, (0, 1))
    share = counts / counts.sum()
    terms = np.where(share > 0, share * np.log(np.maximum(share, 1e-300)), 0)
    below, of_below = np.cumsum(share)[:-1], np.cumsum(terms)[:-1]
    above, of_above = 1 - below, terms.sum() - of_below
    both = (below > ALMOST) & (above > ALMOST)
    below, above = np.where(both, below, 0.5), np.where(both, above, 0.5)
    total = np.log(below) - of_below / below + np.log(above) - of_above / above
    return float(edges[1:-1][np.argmax(np.where(both, total, -np.inf))])


def shifted(probability: Floats, prior: float) -> float:
    """Take 0.5 after the prior was corrected by EM (Saerens et al. 2002, doi:10.1162/089976602753284446)."""
    odds, share = probability / (1 - probability), prior
    for _ in range(500):
        ratio = share / (1 - share) * (1 - prior) / prior
        share = float((odds * ratio / (1 + odds * ratio)).mean().clip(ALMOST, 1 - ALMOST))
    ratio = share / (1 - share) * (1 - prior) / prior
    return float(min(1 / (1 + ratio), 1 - ALMOST))  # where the corrected odds are 1


RULES = {
    "expected F1": expected_f1,
    "same area": same_area,
    "share of training": same_share,
    "Otsu": otsu,
    "entropy": entropy,
    "EM": shifted,
}


def mapped(run: Run, folder: Path) -> tuple[Floats, NDArray[np.uint8], Model]:
    """Map the unseen event of a run: probability and label of its pixels, and the model."""
    model = load_model(folder / run.name / "model")
    (scene,) = (scene for path in run.test_on for scene in open_labelled_scenes(path))
    probability = predict_array(model, scene.scene, InferenceOptions(precision="32"))[0]
    where = np.isfinite(probability)
    return probability[where].astype(np.float64).clip(ALMOST, 1 - ALMOST), scene.labels[where], model


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    folder = parser.parse_args().study
    study = read_record(folder / "study.json", Study, advice="expected the study.json of coslide study transfer")
    found: dict[str, list[tuple[float, float]]] = {}
    for run in study.runs:
        every, labels, model = mapped(run, folder)
        probability, truth = every[labels != NODATA], labels[labels != NODATA] == LANDSLIDE
        prior = statistics.fmean(
            landslide_share(scene.labels) for path in run.train for scene in open_labelled_scenes(path)
        )
        chosen = {name: float(rule(every, prior)) for name, rule in RULES.items()}
        chosen |= {"as trained": model.metadata.threshold, "oracle": best_threshold(curve(probability, truth))}
        for name, threshold in chosen.items():
            f1 = scores(*confusion(probability >= threshold, truth)).f1
            found.setdefault(name, []).append((f1, threshold))
    cases = [f"{run.case}, seed {run.seed}" for run in study.runs]
    print(f"| rule | {' | '.join(cases)} | mean F1 | worst loss |")
    print("|---" * (len(cases) + 3) + "|")
    for name, own in found.items():
        each = " | ".join(f"{f1:.3f} at {threshold:.3f}" for f1, threshold in own)
        lost = max(best[0] - one[0] for one, best in zip(own, found["oracle"], strict=True))
        print(f"| {name} | {each} | {statistics.fmean(f1 for f1, _ in own):.3f} | {lost:.3f} |")


if __name__ == "__main__":
    main()
