"""Rain gauges: units, codes, days and gaps."""

import datetime as dt

import numpy as np
import pytest

from coslide.config.schema import GaugeColumns, RainConfig
from coslide.errors import InputError
from coslide.sources.gauges import day_weights, read_gauges

EVENT = dt.datetime(2017, 8, 8, 13, 19, 46, tzinfo=dt.UTC)
TOTALS = GaugeColumns()
DAILY = GaugeColumns(date="date", station="name")


def rain(tmp_path, text, **options):
    """Return the table of a text, to be read as rain in mm."""
    path = tmp_path / "rain.csv"
    path.write_text(text)
    return RainConfig(gauges=path, **{"unit": "mm", "columns": TOTALS, **options})


def daily(tmp_path, days, *, name="A", place="103,33", **options):
    """Return a table of one gauge with rain {day of August 2017: mm}."""
    rows = [f"{name},{place},{dt.date(2017, 8, 1) + dt.timedelta(day - 1)},{mm}" for day, mm in days.items()]
    return rain(tmp_path, "\n".join(["name,lon,lat,date,rain", *rows]), columns=DAILY, **options)


@pytest.mark.parametrize(("unit", "value"), [("mm", 12.7), ("0.1mm", 127), ("cm", 1.27), ("inch", 0.5)])
def test_every_unit_of_rain_becomes_mm(tmp_path, unit, value):
    """R29: inches and tenths."""
    found = read_gauges(rain(tmp_path, f"lon,lat,rain\n103,33,{value}\n", unit=unit), event_time=None)
    np.testing.assert_allclose(found.rain_mm, [12.7])


def test_rows_without_a_value_or_that_failed_quality_control_are_left_out_and_counted(tmp_path):
    """R29: empty, blank, the code of GSOD, a GHCN flag."""
    text = "lon,lat,rain,flag\n103,33,1,\n104,33,,\n105,33, ,\n106,33,99.99,\n107,33,5,X\n,33,5,\n108,33,2, \n"
    table = rain(tmp_path, text, columns=GaugeColumns(quality="flag"), missing=(99.99,))
    found = read_gauges(table, event_time=None)
    np.testing.assert_array_equal(found.lon_deg, [103, 108])
    np.testing.assert_array_equal(found.rain_mm, [1, 2])
    assert "5 of 7 rows left out" in found.notes[0]


def test_columns_have_the_names_that_are_given(tmp_path):
    """And others do not disturb."""
    columns = GaugeColumns(lon="LONGITUDE", lat="LATITUDE", rain="PRCP")
    table = rain(tmp_path, "PRCP,rain,LATITUDE,LONGITUDE\n3,x,33.5,103.5\n", columns=columns)
    found = read_gauges(table, event_time=None)
    assert (found.lon_deg[0], found.lat_deg[0], found.rain_mm[0]) == (103.5, 33.5, 3)


def test_totals_need_no_time_and_two_in_one_place_stay_two(tmp_path):
    """R29: kriging takes their mean."""
    found = read_gauges(rain(tmp_path, "lon,lat,rain\n103,33,1\n103,33,5\n"), event_time=None)
    np.testing.assert_array_equal(found.rain_mm, [1, 5])


def test_daily_rows_without_a_date_column_are_not_taken_for_totals(tmp_path):
    """R29: their mean would be taken, many times too little."""
    rows = "".join(f"{lon},33,{day}\n" for lon in (103, 104) for day in (1, 2, 3))
    with pytest.raises(
        InputError, match="found 3 different totals at longitude 103, latitude 33, and as many elsewhere"
    ):
        read_gauges(rain(tmp_path, f"lon,lat,rain\n{rows}"), event_time=None)


def test_days_are_summed_up_to_the_event_and_not_beyond(tmp_path):
    """R29: the event is at 13:19 UTC of 8 August; powers of two tell which days are in the sum."""
    days = {day: 2.0 ** (day - 5) for day in range(1, 15)}
    found = read_gauges(daily(tmp_path, days, window_days=4, event_day="drop"), event_time=EVENT)
    np.testing.assert_array_equal(found.rain_mm, [0.5 + 1 + 2 + 4])  # 4 to 7 August
    assert any("4 days, 2017-08-04 to 2017-08-07" in note for note in found.notes)


def test_the_day_of_the_event_counts_with_its_hours_before_it(tmp_path):
    """R29."""
    days = {day: 2.0 ** (day - 5) for day in range(1, 15)}
    found = read_gauges(daily(tmp_path, days, window_days=4), event_time=EVENT)
    before = (13 + 19 / 60 + 46 / 3600) / 24
    np.testing.assert_allclose(found.rain_mm, [0.5 + 1 + 2 + 4 + 8 * before], rtol=1e-12)
    assert sum("by that share" in note for note in found.notes) == 1


def test_the_default_window_has_the_dates_of_the_paper_s_table():
    """Table 1: rain of 29 July to 8 August 2017, for the event of 8 August."""
    weights = day_weights(RainConfig(gauges="a.csv", unit="mm", columns=DAILY), EVENT)
    assert (min(weights), max(weights)) == (dt.date(2017, 7, 29), dt.date(2017, 8, 8))
    assert len(weights) == 11
    assert {weight for date, weight in weights.items() if date.day != 8} == {1.0}


@pytest.mark.parametrize(
    ("starts", "first", "last"),
    [
        (0, 4, 7),
        (-8, 4, 7),
        (8, 4, 7),
        (13.3, 4, 7),
        (13.35, 3, 6),
        (-13.0, 5, 8),
        (-10.68, 5, 8),
        (24, 3, 6),
        (-24, 5, 8),
    ],
)
def test_the_day_of_a_gauge_begins_when_it_is_told(tmp_path, starts, first, last):
    """R29: 13.33 h before and after midnight the event passes from one day of a gauge to the next."""
    rain = RainConfig(
        gauges="a.csv", unit="mm", columns=DAILY, window_days=4, day_starts_utc_h=starts, event_day="drop"
    )
    weights = day_weights(rain, EVENT)
    assert (min(weights).day, max(weights).day, set(weights.values())) == (first, last, {1.0})


def test_an_event_on_the_edge_of_days_has_whole_days_only():
    """R29: nothing is cut; a time without a zone is UTC, and one with a zone is converted."""
    rain = RainConfig(gauges="a.csv", unit="mm", window_days=3)
    for time in (dt.datetime(2017, 8, 8), dt.datetime.fromisoformat("2017-08-08T08:00+08:00")):
        assert {date.day: weight for date, weight in day_weights(rain, time).items()} == {5: 1.0, 6: 1.0, 7: 1.0}


@pytest.mark.parametrize("starts", [-8.0, 0.0, 5.5])
def test_shares_add_up_to_the_whole_days_and_the_hours_of_the_event_s_day(starts):
    """R29: the witness counts hours, one by one."""
    rain = RainConfig(gauges="a.csv", unit="mm", window_days=10, day_starts_utc_h=starts)
    seconds = (EVENT - dt.datetime(2017, 8, 8, tzinfo=dt.UTC) - dt.timedelta(hours=starts)).total_seconds()
    np.testing.assert_allclose(sum(day_weights(rain, EVENT).values()), 10 + seconds % 86400 / 86400)


def test_dates_may_be_written_without_dashes_or_with_a_time(tmp_path):
    """GHCN writes 20170807."""
    rows = ["A,103,33,20170806,1", "A,103,33,2017-08-07,2", "B,104,33,2017-08-06T00:00,4", "B,104,33,20170807,8"]
    text = "\n".join(["name,lon,lat,date,rain", *rows])
    found = read_gauges(rain(tmp_path, text, columns=DAILY, window_days=2, event_day="drop"), event_time=EVENT)
    np.testing.assert_array_equal(found.rain_mm, [3, 12])


def test_a_gauge_with_a_missing_day_is_left_out_and_counted(tmp_path):
    """R29: its sum would be too small; a missing day outside the window does not matter."""
    text = "name,lon,lat,date,rain\n" + "".join(
        f"{name},{lon},33,2017-08-0{day},1\n"
        for name, lon, days in [("A", 103, (5, 6, 7)), ("B", 104, (1, 6, 7)), ("C", 105, (5, 6, 7, 8))]
        for day in days
    )
    found = read_gauges(rain(tmp_path, text, columns=DAILY, window_days=3, event_day="drop"), event_time=EVENT)
    np.testing.assert_array_equal(found.lon_deg, [103, 105])
    np.testing.assert_array_equal(found.rain_mm, [3, 3])
    assert any("1 gauges left out" in note for note in found.notes)


def test_a_row_that_is_there_twice_counts_once(tmp_path):
    """R29: and without a name a gauge is its place."""
    text = "lon,lat,date,rain\n" + "".join(f"{lon},33,2017-08-0{d},2\n" for lon in (103, 103, 104) for d in (6, 7))
    table = rain(tmp_path, text, columns=GaugeColumns(date="date"), window_days=2, event_day="drop")
    np.testing.assert_array_equal(read_gauges(table, event_time=EVENT).rain_mm, [4, 4])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("lon,lat\n103,33\n", {}, "has no column 'rain'; found lon, lat"),
        ("lon,lat,rain\n103,33,much\n", {}, "line 2: found 'much' as rain, expected numbers"),
        ("lon,lat,rain\n103,33,1\n103,33,inf\n", {}, "line 3: found 'inf' as rain"),
        ("lon,lat,rain\n103,33,1\n103,33,-9999\n", {}, r"line 3: found -9999 as rain .* rain.missing = \[-9999\]"),
        (
            "lon,lat,rain\n103,33,1\n103,33,1e20\n",
            {},
            r"line 3: found 1e\+20 as rain \(rain.unit 'mm'\), expected 0 to 22000 mm",
        ),
        ("lon,lat,rain\n33,103,1\n", {}, r"line 2: .* \(are the columns of longitude and latitude swapped\?\)"),
        ("lon,lat,rain\n103,95,1\n", {}, "line 2: found longitude 103 and latitude 95, expected degrees"),
        ("lon,lat,rain\n500000,33,1\n", {}, "line 2: found longitude 500000"),
        ("lon,lat,rain\n103,33,\n", {}, "none of its 1 rows has a place and a value"),
        ("", {}, "cannot be read as CSV"),
        (
            "name,lon,lat,rain\nA,103,33,1\nA,103,33,2\n",
            {"columns": GaugeColumns(station="name")},
            "found 1, 2 mm for station A, expected one value",
        ),
        (
            "name,lon,lat,rain\nA,103,33,1\nA,104,33,1\n",
            {"columns": GaugeColumns(station="name")},
            "found station A in places 1 degrees apart",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, options, message):
    """R29: in one line that names the file."""
    with pytest.raises(InputError, match=f"rain.csv: {message}") as caught:
        read_gauges(rain(tmp_path, text, **options), event_time=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("days", "options", "message"),
    [
        ({20: 1, 21: 1}, {}, "found days from 2017-08-20 to 2017-08-21, expected 2017-07-29 to 2017-08-08"),
        (
            {5: 1, 7: 1},
            {"window_days": 3, "event_day": "drop"},
            r"no gauge has all 3 days from 2017-08-05 to 2017-08-07 \(the fullest has 2\)",
        ),
    ],
)
def test_daily_rain_that_does_not_fill_the_window_is_refused(tmp_path, days, options, message):
    """R29."""
    with pytest.raises(InputError, match=message):
        read_gauges(daily(tmp_path, days, **options), event_time=EVENT)


def test_more_rain_in_a_day_than_ever_fell_is_refused_naming_the_unit(tmp_path):
    """R29: tenths of mm taken for mm."""
    with pytest.raises(InputError, match=r"line 2: found 2500 as rain .*expected 0 to 2000 mm; is rain.unit right\?"):
        read_gauges(daily(tmp_path, {7: 2500}), event_time=EVENT)


def test_one_column_cannot_be_two_things():
    with pytest.raises(ValueError, match="expected each column once"):
        GaugeColumns(lon="x", lat="x")


def test_daily_rain_without_the_time_of_the_event_is_refused(tmp_path):
    """R29: the key is named."""
    with pytest.raises(InputError, match="holds daily rain; found no time_utc"):
        read_gauges(daily(tmp_path, {7: 1}), event_time=None)


def test_two_values_for_one_day_of_a_gauge_are_refused(tmp_path):
    """R29: naming both."""
    text = "name,lon,lat,date,rain\nA,103,33,2017-08-07,1\nA,103,33,2017-08-07,3\n"
    with pytest.raises(InputError, match="found 1, 3 mm for station A on 2017-08-07"):
        read_gauges(rain(tmp_path, text, columns=DAILY), event_time=EVENT)


@pytest.mark.parametrize(
    ("date", "message"),
    [("08/08/2017", "found '08/08/2017' as date, expected dates such as"), ("", "line 2: has no date")],
)
def test_a_date_that_is_none_is_refused(tmp_path, date, message):
    """Day and month are not guessed."""
    with pytest.raises(InputError, match=message):
        read_gauges(rain(tmp_path, f"name,lon,lat,date,rain\nA,103,33,{date},1\n", columns=DAILY), event_time=EVENT)
