"""The figure of a region, by the pixels it paints and the words it writes."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from coslide.evaluation.pixels import confusion, scores
from coslide.evaluation.scores import PlaceScores
from coslide.evaluation.study_regions import IndexOfRegion, RegionOfStudy
from coslide.report.images import COLOURS, CORRECT, FALSE_ALARM, MISSED, NODATA
from coslide.report.region_figure import RegionMaps, region_figure
from coslide.windows import Window

CASES = ("EGCN", "U-Net", "DP-FCN (reconstruction)")


def maps_of(shape=(40, 60), *, before=True, mapped=0.2):
    random = np.random.default_rng(1)
    landslide, labelled = random.random(shape) < mapped, random.random(shape) > 0.1
    scored = labelled.copy()
    scored[:, :10] = False
    after = random.uniform(0.02, 0.2, (*shape, 3)).astype(np.float32)
    scenes = {"Before": np.full_like(after, np.nan), "After": after} if before else {"After": after}
    recognised = {case: random.random(shape) < 0.2 for case in CASES}
    return RegionMaps(scenes, landslide & labelled, labelled, scored, recognised, 10.0, credit="nobody")


def region_of(maps):
    found = {}
    for case, recognised in maps.recognised.items():
        counts = confusion(recognised, maps.landslide, maps.scored)
        found[case] = PlaceScores(**dict(scores(*counts)), scored_pixels=sum(counts))
    slope = {"index": "slope", "band": "slope", "long_name": "slope (Horn)", "unit": "degree"}
    return RegionOfStudy(
        name="A",
        rule="made up",
        window=Window(0, 0, *maps.landslide.shape),
        area_km2=0.24,
        held_out=float(maps.scored.mean()),
        environment=[IndexOfRegion(**slope, median=12.34, lowest=0.0001, highest=40.0)],
        landslides=3,
        landslides_scored=2,
        landslide_share=0.2,
        smallest_m2=100.0,
        largest_m2=12345.0,
        scores=found,
        figure="figures/region-a.png",
    )


@pytest.fixture
def drawn(monkeypatch):
    """A function that draws maps and gives the figure, without writing it."""

    def draw(maps):
        kept = []
        monkeypatch.setattr("coslide.report.images.save_figure", lambda figure, path: kept.append(figure) or path)
        region_figure(None, region_of(maps), maps)
        return kept[0]

    return draw


def test_each_map_tells_found_missed_and_false_apart_and_greys_what_is_not_scored(drawn):
    maps = maps_of()
    *_, truth, first, _, _ = (axes.images[0].get_array() for axes in drawn(maps).axes)
    found, mapped, scored = maps.recognised["EGCN"], maps.landslide, maps.scored
    for code, where in (
        (CORRECT, found & mapped & scored),
        (FALSE_ALARM, found & ~mapped & scored),
        (MISSED, ~found & mapped & scored),
    ):
        np.testing.assert_array_equal((first == np.float32(to_rgb(COLOURS[code]))).all(axis=-1), where)
    np.testing.assert_array_equal((first == np.float32(to_rgb(NODATA))).all(axis=-1), ~scored)
    np.testing.assert_array_equal((truth == np.float32(to_rgb(COLOURS[CORRECT]))).all(axis=-1), mapped)
    np.testing.assert_array_equal((truth == np.float32(to_rgb(NODATA))).all(axis=-1), ~maps.labelled)


def test_titles_tell_the_case_and_its_f1_and_the_caption_what_is_grey(drawn):
    maps = maps_of()
    figure, region = drawn(maps), region_of(maps)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    expected = [f"{case}  F1 {region.scores[case].f1:.2f}" for case in CASES]
    assert titles == ["Before", "After", "Mapped landslides", *expected]
    texts = " ".join(text.get_text() for text in figure.texts)
    assert "Region A: made up" in texts
    assert "0.24 km², 20.0 % landslide, 3 landslides (2 scored): the smallest 100 m², the largest 12,300 m²" in texts
    assert "slope 12.3° (0 to 40)" in texts
    assert f"{100 * (1 - region.held_out):.1f} % not scored" in texts
    assert "nobody" in texts
    assert [text.get_text() for text in figure.axes[0].texts] == ["nodata"]


def test_without_a_mapped_landslide_there_is_no_f1(drawn):
    maps = maps_of(before=False, mapped=0.0)
    axes = drawn(maps).axes[2]
    assert axes.get_title(loc="left") == "EGCN  F1 –"
    alarms = (maps.recognised["EGCN"] & maps.scored).sum()
    assert axes.texts[0].get_text() == f"no landslide, {alarms:,} pixels of false alarms"


@pytest.mark.parametrize("shape", [(40, 60), (400, 60), (60, 400), (1, 1)])
def test_a_region_of_any_shape_is_2400_pixels_wide_and_no_panel_lies_on_another(drawn, shape):
    figure = drawn(maps_of(shape))
    wide, tall = figure.get_size_inches() * figure.dpi
    assert wide == 2400
    assert tall < 6000
    boxes = [axes.get_position(original=True) for axes in figure.axes]
    for i, one in enumerate(boxes):
        assert one.y0 > 0
        assert one.y1 < 1
        assert not any(one.overlaps(other) for other in boxes[:i])


def test_a_region_with_more_pixels_than_a_panel_is_reduced_and_no_landslide_is_lost(drawn):
    maps = maps_of((1500, 2000), mapped=0.0)
    maps.landslide[700, 1234] = True
    maps.labelled[:] = True
    truth = drawn(maps).axes[2].images[0].get_array()
    assert max(truth.shape) < 1000
    assert (truth == np.float32(to_rgb(COLOURS[CORRECT]))).all(axis=-1).sum() == 1


def test_the_file_is_written(tmp_path):
    maps = maps_of()
    path = region_figure(tmp_path / "region.png", region_of(maps), maps)
    assert path.read_bytes().startswith(b"\x89PNG")
