"""Which bands of the stacked input belong to which date."""

import json
import re
from dataclasses import replace

import pytest
import torch

from coslide import networks
from coslide.cube.band import Band
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.networks.dates import date_bands


def numbered(bands, batch=2):
    """Return an input whose values are the numbers of its bands, plus 100 for each place in the batch."""
    tile = torch.arange(batch).view(-1, 1, 1, 1) * 100.0 + torch.arange(bands).view(1, -1, 1, 1)
    return tile.expand(batch, bands, 2, 3).contiguous()


def test_thirty_bands_are_split_in_the_papers_order():
    before, after = date_bands(30).split(numbered(30, batch=1))
    static = [22, 23, 24, 25, 26, 27, 28, 29]
    assert (before[0, :, 1, 2].tolist(), after[0, :, 1, 2].tolist()) == (
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, *static],
        [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, *static],
    )


@pytest.mark.parametrize(
    ("bands", "pre", "post", "static", "before", "after"),
    [
        (5, [0, 1], [2, 3], "both", [0, 1, 4], [2, 3, 4]),
        (5, [0, 1], [2, 3], "none", [0, 1], [2, 3]),
        (7, [6, 2, 0], [1, 5, 3], "both", [6, 2, 0, 4], [1, 5, 3, 4]),  # in the order given
        (6, [4], [2], "both", [4, 0, 1, 3, 5], [2, 0, 1, 3, 5]),  # static ones in the order of the input
        (2, [1], [0], "both", [1], [0]),
    ],
)
def test_each_date_has_its_bands_in_the_order_given_and_then_the_static_ones(bands, pre, post, static, before, after):
    dates = date_bands(bands, pre=pre, post=post, static=static)
    x = numbered(bands)
    split = dates.split(x)
    assert (dates.pre, dates.post) == (tuple(before), tuple(after))
    assert torch.equal(split[0], x[:, before])
    assert torch.equal(split[1], x[:, after])


def test_a_map_that_went_through_json_is_the_same_map():
    options = {"pre": (3, 0), "post": (1, 4)}
    assert date_bands(6, **json.loads(json.dumps(options))) == date_bands(6, **options)


def test_thirty_bands_may_have_another_order():
    assert date_bands(30, pre=[29], post=[0], static="none").pre == (29,)


EACH_ONCE = "expected as many of both, at least one, each band once"


@pytest.mark.parametrize(
    ("bands", "options", "text"),
    [
        (13, {}, "found 13 bands and no pre and post; expected the bands of each date, or the paper's 30"),
        (5, {"pre": [0]}, "post: found None; expected numbers from 0 to 4, for pre and post alike"),
        (30, {"post": [0]}, "pre: found None; expected numbers from 0 to 29, for pre and post alike"),
        (5, {"pre": [0], "post": [5]}, "post: found [5]; expected numbers from 0 to 4, for pre and post alike"),
        (5, {"pre": [-1], "post": [1]}, "pre: found [-1]; expected numbers from 0 to 4, for pre and post alike"),
        (5, {"pre": [0, 1], "post": [2]}, f"found pre [0, 1] and post [2]; {EACH_ONCE}"),
        (5, {"pre": [], "post": []}, f"found pre [] and post []; {EACH_ONCE}"),
        (5, {"pre": [0, 1], "post": [2, 1]}, f"found pre [0, 1] and post [2, 1]; {EACH_ONCE}"),
        (5, {"pre": [3, 3], "post": [0, 1]}, f"found pre [3, 3] and post [0, 1]; {EACH_ONCE}"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_in_one_line(bands, options, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        date_bands(bands, **options)


@pytest.mark.parametrize("bands", [4, 6])
def test_an_input_with_another_number_of_bands_is_refused(bands):
    """Slices would cut it to fit without a word."""
    with pytest.raises(ValueError, match=f"^expected 5 bands, found {bands}$"):
        date_bands(5, pre=[0], post=[1], static="none").split(numbered(bands))


def test_the_split_lies_in_memory_with_the_channels_last():
    split = date_bands(30).split(torch.zeros(2, 30, 4, 8))
    assert [part.is_contiguous(memory_format=torch.channels_last) for part in split] == [True, True]


def test_a_gradient_reaches_static_bands_from_both_dates_and_others_from_one():
    x = numbered(5).requires_grad_()
    before, after = date_bands(5, pre=[0], post=[3]).split(x)
    (before.sum() + 10 * after.sum()).backward()
    assert x.grad[1, :, 1, 2].tolist() == [1, 11, 11, 10, 11]


def test_the_split_keeps_no_reference_to_its_input():
    x = numbered(3)
    before, _ = date_bands(3, pre=[0], post=[1], static="none").split(x)
    before.zero_()
    assert torch.equal(x, numbered(3))


def reflectance(date, channel):
    return Band(f"reflectance_{date}_{channel}", date=date, quantity="reflectance", channel=channel)


def ndvi(date):
    return Band(f"ndvi_{date}", date=date, quantity="ndvi")


BANDS = [
    reflectance("post", "B2"), reflectance("post", "B3"), reflectance("pre", "B3"), reflectance("pre", "B2"),
    Band("pre_available", kind="flag", date="pre"), Band("slope", "degree"), Band("aspect_class"), ndvi("pre"),
    ndvi("post"), Band("ndvi_difference", date="post"), reflectance("post", "B12"),
]  # fmt: skip


def paired_by_cdcnn(bands):
    return networks.date_options("cdcnn", bands)


def test_bands_of_one_quantity_and_channel_make_pairs_in_the_order_of_those_before():
    assert paired_by_cdcnn(BANDS) == {"pre": [2, 3, 7], "post": [1, 0, 8]}


def test_bands_without_a_counterpart_are_static():
    dates = date_bands(len(BANDS), **paired_by_cdcnn(BANDS))
    static = ["pre_available", "slope", "aspect_class", "ndvi_difference", "reflectance_post_B12"]
    assert [BANDS[index].name for index in dates.pre[3:]] == static


def test_a_name_tells_nothing():
    with pytest.raises(InputError, match="found pre_ndvi, post_ndvi"):
        paired_by_cdcnn([Band("pre_ndvi"), Band("post_ndvi")])
    renamed = [replace(band, name=f"band{number}") for number, band in enumerate(BANDS)]
    assert paired_by_cdcnn(renamed) == paired_by_cdcnn(BANDS)


@pytest.mark.parametrize("bands", [[Band("slope"), BANDS[4]], [BANDS[0], Band("slope")], []])
def test_a_cube_with_one_date_is_refused_with_its_bands(bands):
    found = ", ".join(band.name for band in bands) or "no band"
    with pytest.raises(InputError, match=f"needs bands before and after the event, .*; found {found}$"):
        paired_by_cdcnn(bands)


def test_the_bands_of_a_built_cube_find_their_dates(made_up_cube):
    bands = open_cube(made_up_cube).inputs
    pairs = paired_by_cdcnn(bands)
    found = [(bands[pre].name, bands[post].name) for pre, post in zip(pairs["pre"], pairs["post"], strict=True)]
    assert found == [(f"reflectance_pre_B{band}", f"reflectance_post_B{band}") for band in (2, 3, 4)]
