"""All scores of a map as typed results; ``metrics.json`` is written from them and read into them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

import coslide
from coslide.config.records import read_record
from coslide.display.overview import Overview, Shown
from coslide.evaluation.pixels import PixelRates, PixelScores, ScoreRecord
from coslide.evaluation.probabilities import CurvePoints, Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS, TILES = "metrics.json", "tiles.csv"
DEAD_BELOW = 0.1  # of the initial spread of a kernel
_OrNone = Annotated[float | None, BeforeValidator(lambda v: None if isinstance(v, float) and math.isnan(v) else v)]
"""A score that may not exist: NaN, which JSON does not know, becomes None."""


class PixelScoresAt(PixelScores):
    """Pixel scores at another threshold than that of the map."""

    threshold: float
    """From this probability on a pixel counts as landslide."""


class MapScores(PixelScores):
    """Pixel scores of a map, how sure they are, and the areas under its curves."""

    scored_km2: float
    """Area that was scored."""
    false_alarm_km2_per_1000_km2: float
    """False alarms in 1000 km² of scored area."""
    intervals: dict[str, tuple[float, float]]
    """95 % of 1000 replicates lie between these bounds. A replicate draws squares of 128 x 128 pixels with
    replacement: neighbouring pixels are alike, and drawn one by one they would promise too much. Empty with fewer
    than two squares; that of `average_precision` from about 1000 thresholds."""
    interval_blocks: int
    """Squares with a scored pixel, which are drawn."""
    average_precision: _OrNone = None
    """Area under the precision-recall curve; null without landslide."""
    roc_auc: _OrNone = None
    """Area under the ROC curve; landslides are rare, so it is high for poor maps too."""
    oracle: PixelScoresAt | None = None
    """At the threshold with the highest F1 on the scored pixels. No map has it, as the truth chose it: a bound, never a
    result, which tells how much of an error is the threshold's. Null without landslide."""
    trained: PixelScoresAt | None = None
    """At the threshold that is best on the validation set (0.5 without one), where the map has one of its own
    scene."""


class BaselineScores(PixelScores):
    """Pixel scores of a baseline on the same pixels."""

    average_precision: _OrNone
    """Area under the precision-recall curve; null without landslide."""
    threshold: float
    """From this probability on a pixel counts as landslide."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """As those of the map."""
    oracle: PixelScoresAt | None = None
    """As that of the map."""


class PlaceScores(PixelScores):
    """Pixel scores of a region or a class of environment."""

    scored_pixels: int
    """Pixels that were scored."""


class ObjectCounts(ScoreRecord):
    """Landslides that were matched, found, missed or false. A share with nothing to divide by is 0."""

    n_mapped: int
    """Landslides of the inventory: matched + split + merged + missed."""
    n_matched: int
    """Matched one to one: the overlap is more than half of each."""
    n_split: int
    """Mapped ones recognised in several parts, each more than half inside."""
    n_merged: int
    """Mapped ones that one recognised landslide holds together with others."""
    n_missed: int
    """Mapped ones that are none of these."""
    n_recognised: int
    """Landslides of the map: matched + split parts + merging + false."""
    n_split_parts: int
    """Recognised ones that are parts of a split one."""
    n_merging: int
    """Recognised ones that hold several merged ones."""
    n_false: int
    """Recognised ones that are none of these."""
    n_false_without_overlap: int
    """Those of the false ones that touch no mapped landslide pixel."""
    n_found: int
    """Mapped ones with at least half of their pixels recognised, whatever the outline."""
    share_found: float
    """Their share of the mapped ones."""
    object_precision: float
    """Matched ones per recognised one."""
    object_recall: float
    """Matched ones per mapped one."""
    object_f1: float
    """2 matched / (mapped + recognised)."""
    matched_iou_mean: float | None
    """Mean IoU of the matched pairs; null if there is none."""
    missed_area_m2: float
    """Area of the missed ones."""
    false_area_m2: float
    """Area of the false ones."""


class SizeClass(ScoreRecord):
    """Mapped landslides of one size class; 8 to 11 pixels is the smallest of Yang et al. (2023)."""

    pixels_min: int
    """Smallest size in the class [pixels]."""
    pixels_max: int | None
    """Largest size in the class [pixels]; null in the class without end."""
    area_min_m2: float
    """Smallest size."""
    area_max_m2: float | None
    """Largest size."""
    n_mapped: int
    """Mapped landslides."""
    n_found: int
    """Those with half of their pixels recognised."""
    n_matched: int
    """Those matched one to one."""
    recall: float | None
    """Share that was found; null in an empty class."""


class SizeFrequency(ScoreRecord):
    """Area-frequency curve p(A) = dN / (N dA), Malamud et al. (2004), in five bins to a decade; empty without any."""

    area_min_m2: list[float]
    """Lower edge of each bin, in the bin."""
    area_max_m2: list[float]
    """Upper edge of each bin, not in it."""
    area_m2: list[float]
    """Their geometric mean."""
    n: list[int]
    """Landslides in each bin."""
    density_per_m2: list[float]
    """Probability density [1/m²]."""


class BoundaryDistances(ScoreRecord):
    """Distances [m] between the boundaries of two maps; all null if one of them has none."""

    recognised_to_mapped_mean_m: float | None = None
    """Mean over the recognised boundary pixels."""
    mapped_to_recognised_mean_m: float | None = None
    """Mean over the mapped boundary pixels."""
    symmetric_mean_m: float | None = None
    """Mean of these two."""
    median_m: float | None = None
    """Median of the distances of both maps together."""
    p95_m: float | None = None
    """Their 95th percentile."""


class ObjectScores(ObjectCounts):
    """Scores landslide by landslide."""

    recall_by_size: list[SizeClass]
    """Found and matched ones by size."""
    size_frequency: dict[Literal["mapped", "recognised"], SizeFrequency] = Field(min_length=2)
    """Area-frequency curve of `mapped` and `recognised`."""
    boundary: BoundaryDistances | None = None
    """Distances between the outlines of all landslides, where one map is scored."""
    boundary_of_matched: BoundaryDistances | None = None
    """Distances between the outlines of the matched landslides, where one map is scored."""


class Calibration(ScoreRecord):
    """What a probability of the map is worth."""

    brier: float
    """Brier score, mean of (probability - truth)²; 0 is perfect."""
    ece: float
    """Expected calibration error, over 15 bins; 0 is perfect."""
    threshold: float
    """From this probability on a pixel counts as landslide; chosen on the validation part (0.5 without one), or where
    `pixels.trained` is given by the map's own probabilities (of several events, that of the first)."""
    temperature: float
    """What the logits were divided by; chosen on the validation part, 1 without one."""
    reliability: Reliability
    """How often landslides lie where the map gives a probability."""


class TileScores(ScoreRecord):
    """Scores averaged over squares, as the paper's seem to be, beside the pooled ones."""

    side_px: int
    """Side of the squares."""
    count: int
    """Squares with a scored pixel."""
    with_landslide: int
    """Those of them with a landslide."""
    mean: PixelRates | None
    """Scores averaged over the squares with a landslide; null without one."""
    f1_p10_p50_p90: list[float]
    """10th, 50th and 90th percentile of their F1; empty without one."""


class SampleScores(ScoreRecord):
    """Scores of the paper's protocol: each held-out sample predicted by itself, every labelled pixel counted."""

    count: int
    """Held-out samples."""
    mean: PixelRates | None
    """Scores averaged over the samples with a landslide; null without one."""
    pooled: PixelRates
    """Scores of all their pixels together."""


class DepthDiagnostics(ScoreRecord):
    """Diagnostics of one depth of a network: what it has learned."""

    depth: int
    """1 (full resolution) to 5."""
    kernel_spread: float
    """Standard deviation of a convolution's kernel over that before training, mean over its convolutions."""
    alpha: float | None = None
    """Mean of this learned factor of its CGBlocks; null without CGBlocks."""
    beta: float | None = None
    """The same of beta."""
    lambda_: float | None = None
    """The same of lambda."""
    mu: float | None = None
    """The same of mu."""
    ap_lost: float | None = None
    """Fall of average precision when this depth and all below it give nothing to the depth above; null for depth 1,
    without which there is no map, and where no scored pixel is a landslide."""

    @property
    def dead(self) -> bool:
        """Whether the kernels have faded to less than a tenth of their initial spread."""
        return self.kernel_spread < DEAD_BELOW


class NetworkDiagnostics(ScoreRecord):
    """Diagnostics of a trained network, by depth, measured on up to 32 held-out windows."""

    average_precision: float | None
    """Of the whole network on these windows; null where no scored pixel of them is a landslide."""
    windows: int
    """Number of windows."""
    depths: list[DepthDiagnostics]
    """From full resolution down; one for the network as a whole where it is not made of depths."""
    branch_ap_lost: float | None = None
    """Fall of average precision without the second branch of the CGBlocks (beta = 0)."""

    def warnings(self) -> list[str]:
        """Describe each dead depth in a line."""
        return [
            f"warning: {f'depth {signs.depth}' if len(self.depths) > 1 else 'the network'} is dead: its kernels have "
            f"{signs.kernel_spread:.2g} of their initial spread"
            for signs in self.depths
            if signs.dead
        ]


class SplitScores(ScoreRecord):
    """How the scored pixels were held out."""

    scheme: str
    """`blocks`, `regions`, `events`, `paper`, `paper-random`; `all` where the model was trained elsewhere;
    `unknown` where polygons alone are scored, or the model was trained on chips without a place: what it saw is
    not known, and every pixel counts."""
    leak_fraction: float
    """Mean share of a held-out tile that training saw; 0 but for `paper`, `paper-random` and events that
    overlap."""
    scored_pixels: int = Field(ge=0)
    """Pixels that were scored."""
    seed: int | None = None
    """Seed of the split."""
    train_tiles: int | None = None
    """Training tiles."""
    validation_tiles: int | None = None
    """Validation tiles."""
    test_tiles: int | None = None
    """Held-out tiles."""
    guard_px: int | None = None
    """Width of the guard between training and held-out pixels."""


class Scores(Shown, ScoreRecord):
    """Scores of one or several maps on the pixels that training did not see; ``metrics.json``.

    Examples
    --------
    >>> from coslide import evaluate, predict_scene
    >>> scores = evaluate(predict_scene(bundle, index, folder / "map"), inventory, grid=index)
    >>> scores
    <Scores>
      F1          ...
      ...
    >>> scores.split.scheme, scores.pixels.tp + scores.pixels.fn > 0
    ('blocks', True)
    """

    pixels: MapScores
    """Pixel by pixel, pooled over all maps."""
    objects: ObjectScores
    """Landslide by landslide."""
    calibration: Calibration | None
    """What a probability is worth; null where polygons alone are scored."""
    curves: CurvePoints | None
    """Precision, recall and false alarms at about 200 thresholds; null where polygons alone are scored."""
    tiles: TileScores
    """Averaged over squares of 128 x 128 pixels."""
    baselines: dict[str, BaselineScores]
    """The same pixels by a random forest on single pixels and by a threshold on spectral change; those that cover
    all scored pixels."""
    split: SplitScores
    """The split that the scored pixels were held out by."""
    events: dict[str, MapScores] = Field(default_factory=dict)
    """Each event of several by itself."""
    regions: dict[str, PlaceScores] = Field(default_factory=dict)
    """Each polygon of `--regions` by itself."""
    classes: dict[str, PlaceScores] = Field(default_factory=dict)
    """Each class of `--classes` by itself."""
    vital_signs: list[NetworkDiagnostics] = Field(default_factory=list)
    """What each member of a model trained here has learned."""
    samples: SampleScores | None = None
    """The paper's protocol, where the model was trained with `paper` or `paper-random`."""

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values; what was not measured is left out."""
        return self.model_dump(mode="json", exclude_unset=True)

    def plot(self, chart: str = "precision_recall") -> "Figure":
        """Draw one of the charts of the report.

        Parameters
        ----------
        chart
            ``"precision_recall"``, ``"reliability"`` or ``"roc"``, where probabilities were scored;
            ``"recall_by_size"`` or ``"area_frequency"``.

        Returns
        -------
        matplotlib Figure
            A notebook shows it; ``savefig`` writes it.

        Raises
        ------
        InputError
            If there is no such chart of these scores.
        """
        return coslide.drawing.plot_scores(self, chart)

    def overview(self) -> Overview:
        """Say how good the map is, how sure that is, and on what."""
        pixels, objects, split = self.pixels, self.objects, self.split
        names = {"f1": "F1", "precision": "precision", "recall": "recall", "iou_landslide": "IoU"}
        methods: dict[str, MapScores | BaselineScores] = {"model": pixels}
        methods |= self.baselines
        rows = [("", *names.values(), "AP")]
        for method, row in methods.items():
            numbers = [f"{getattr(row, name):.3f}" for name in names]
            rows.append((method, *numbers, "" if row.average_precision is None else f"{row.average_precision:.3f}"))
        facts = {name: _with_interval(getattr(pixels, key), pixels.intervals.get(key)) for key, name in names.items()}
        if pixels.average_precision is not None:
            facts["AP"] = _with_interval(pixels.average_precision, pixels.intervals.get("average_precision"))
        leak = f", of which training saw {split.leak_fraction:.0%}" if split.leak_fraction else ""
        others = [f"{name} F1 {row.f1:.3f}" for name, row in self.baselines.items()]
        facts |= {
            "landslides": f"{objects.n_found} of {objects.n_mapped} found; {objects.n_recognised} recognised",
            "scored": f"{split.scored_pixels:,} pixels ({pixels.scored_km2:.3g} km²), split by {split.scheme}{leak}",
            "beside it": ", ".join(others),
            "warning": "" if pixels.tp + pixels.fn else "no scored pixel is a mapped landslide; scores mean nothing",
        }
        return Overview("", facts, {"Beside the baselines": rows} if others else {})

    def line(self) -> str:
        """Write the landslide scores in one line for people."""
        pixels = self.pixels
        low, high = pixels.intervals.get("f1", (None, None))
        spread = "" if low is None else f" (95 %: {low:.2f} to {high:.2f})"
        return (
            f"F1 {pixels.f1:.3f}{spread}, precision {pixels.precision:.3f}, recall {pixels.recall:.3f}, "
            f"IoU {pixels.iou_landslide:.3f} on {self.split.scored_pixels} pixels"
            + (", seen in training or not" if self.split.scheme == "unknown" else " that training did not see")
            + ("" if pixels.tp + pixels.fn else "; none of them is a mapped landslide, so these scores mean nothing")
        )


def _with_interval(value: float, bounds: tuple[float, float] | None) -> str:
    return f"{value:.3f}" + (f" (95 %: {bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else "")


def read_scores(path: Path) -> Scores:
    """Read ``metrics.json``.

    Raises
    ------
    InputError
        If the file is not what `coslide.evaluate` writes.
    """
    return read_record(path, Scores, advice="evaluate again")
