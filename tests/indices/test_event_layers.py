"""What the cube of an event consists of: whether its scenes lie before and after it."""

import datetime as dt

import pytest

from coslide.config.event import Event, read_event
from coslide.errors import InputError
from coslide.indices.event_layers import open_event_scenes


def order_of(event_file, *, post=None, pre=None, event=None):
    """Open the scenes of the made-up event as if they were taken on these days; return the warnings."""
    made_up = read_event(event_file)
    days = {"post": post, "pre": pre}
    taken = {when: dt.date.fromisoformat(day) for when, day in days.items() if day}
    scenes = {when: getattr(made_up.scenes, when) or made_up.scenes.post for when in ("post", *taken)}
    scenes = {when: scene.model_copy(update={"date": taken.get(when)}) for when, scene in scenes.items()}
    time = dt.datetime.fromisoformat(f"{event}T18:07:59+00:00") if event else None
    update = {"time_utc": time, "scenes": made_up.scenes.model_copy(update={"pre": None, **scenes})}
    return open_event_scenes(made_up.model_copy(update=update)).warnings


@pytest.mark.parametrize(
    ("days", "problem"),
    [
        (
            {"post": "2018-09-01", "pre": "2018-08-01", "event": "2018-09-05"},
            "post: found 2018-09-01, before the event of 2018-09-05",
        ),
        ({"pre": "2018-09-07", "event": "2018-09-05"}, "pre: found 2018-09-07, after the event of 2018-09-05"),
        ({"post": "2018-08-01", "pre": "2018-09-11"}, "scenes.pre: found 2018-09-11, after scenes.post of 2018-08-01"),
    ],
)
def test_scenes_in_the_wrong_order_are_refused(made_up_event, days, problem):
    with pytest.raises(InputError, match=problem):
        order_of(made_up_event, **days)


@pytest.mark.parametrize(
    ("days", "warned"),
    [
        ({"post": "2018-09-11", "pre": "2018-08-01", "event": "2018-09-05"}, ""),
        ({"post": "2019-09-01", "pre": "2017-09-04", "event": "2018-09-05"}, ""),
        ({"event": "2018-09-05"}, ""),
        ({"post": "2018-09-05", "event": "2018-09-05"}, "scenes.post: taken on 2018-09-05"),
        ({"post": "2018-09-04", "event": "2018-09-05"}, "scenes.post: taken on 2018-09-04"),
        ({"post": "2018-09-01", "event": "2018-09-05"}, "before the event of 2018-09-05"),
        ({"post": "2018-09-11", "pre": "2018-09-06", "event": "2018-09-05"}, "scenes.pre: taken on 2018-09-06"),
        ({"post": "2018-09-11", "pre": "2018-09-11"}, "may be the same scene"),
        ({"post": "2018-09-11", "pre": "2015-09-11"}, "3.0 years before scenes.post"),
        ({"post": "2020-09-11", "event": "2018-09-05"}, "2.0 years after the event"),
    ],
)
def test_odd_days_of_scenes_are_warned_of(made_up_event, days, warned):
    warnings = order_of(made_up_event, **days)
    assert [line.startswith("warning: ") and warned in line for line in warnings] == ([True] if warned else [])


@pytest.mark.parametrize(
    ("key", "value"), [("time_utc", 5), ("time_utc", "0001-01-01T00:00:00+14:00"), ("time_utc", "1536170879")]
)
def test_a_number_is_no_time(made_up_event, key, value):
    """It would be taken for seconds since 1970."""
    made_up = read_event(made_up_event)
    with pytest.raises(ValueError, match="expected"):
        Event.model_validate({**dict(made_up), key: value})
