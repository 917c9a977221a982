"""Station tables."""

import numpy as np
import pytest

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.sources.shaking import read_stations


def stations(tmp_path, text, unit="%g"):
    (tmp_path / "stations.csv").write_text(text)
    return read_stations(ShakingConfig(stations=tmp_path / "stations.csv", unit=unit))


@pytest.mark.parametrize(
    ("unit", "value"), [("g", "0.25"), ("%g", "25"), ("m/s2", "2.4516625"), ("cm/s2", "245.16625")]
)
def test_every_unit_of_acceleration_becomes_g(tmp_path, unit, value):
    np.testing.assert_allclose(stations(tmp_path, f"lon,lat,pga\n141,42,{value}\n", unit).pga_g, [0.25])


def test_stations_without_a_value_are_left_out(tmp_path):
    found = stations(tmp_path, "lon,lat,pga\n141,42,10\n141.5,42.5,\n")
    assert (found.lon_deg.tolist(), found.lat_deg.tolist()) == ([141], [42])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lon,lat\n141,42\n", "has no column 'pga'; found lon, lat"),
        ("lon,lat,pga\n141,42,\n", "no station has a value"),
        ("lon,lat,pga\n141,42,high\n", "expected numbers"),
        ("lon,lat,pga\n141,42,0\n", "expected values above 0"),
        ("lon,lat,pga\n141,42,2500\n", "found PGA from 25 to 25 g with unit '%g'"),
        ("lon,lat,pga\n141,42,10\n141,91,10\n", "line 3: found longitude 141 and latitude 91, expected degrees"),
        ("lon,lat,pga\n141,42,inf\n", "line 2: found 'inf' as pga, expected numbers"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        stations(tmp_path, text)


def test_a_table_may_have_blanks_a_byte_order_mark_and_columns_that_do_not_matter(tmp_path):
    """As spreadsheets write them."""
    (tmp_path / "stations.csv").write_bytes(b"\xef\xbb\xbflon, lat, pga, name\r\n141 , 42,  10, A\r\n142, 43, , B\r\n")
    found = read_stations(ShakingConfig(stations=tmp_path / "stations.csv", unit="%g"))
    np.testing.assert_array_equal([found.lon_deg, found.lat_deg, found.pga_g], [[141], [42], [0.1]])
