"""Station tables."""

import bz2
import gzip
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.io.table import read_table
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
        ("lon,lat,pga\n141,42,0\n", "line 2: found 0 as pga, 0 g with shaking.unit '%g'; expected above 0"),
        ("lon,lat,pga\n141,42,2500\n", "line 2: found 2500 as pga, 25 g with shaking.unit '%g'"),
        ("lon,lat,pga\n141,42,10\n\n142,42,-1\n", "line 4: found -1 as pga"),
        ("lon,lat,pga\n141,42,1e308\n", "line 2: found 1e\\+308 as pga"),
        ("lon,lat,pga\n42,141,10\n", "swapped"),
        ("lon,lat,pga\n1,141,42,10\n", r"line 2: found 4 fields, expected 3 as in the header \(a comma at the end, or"),
        ("lon,lat,pga\n141,42,10,\n", r"line 2: found 4 fields, expected 3"),
        ("lon,lat,pga\n141,42,10\n141,42\n", r"line 3: found 2 fields, expected 3"),
        ("lon,lat,pga,pga\n141,42,10,11\n", "has 2 columns 'pga', expected one"),
        ("lon;lat;pga\n141;42;10\n", "separated by semicolons, expected commas"),
        ("lon\tlat\tpga\n141\t42\t10\n", "separated by tabs, expected commas"),
        ("lon,lat,pga\n141,42,1\0\n", "line 2: holds a NUL byte"),
        ('lon,lat,pga\n"141,42,1\n', "line 2: cannot be read as CSV"),
        ("lon,lat,pga\n" + "1" * 1_000_001, "line 2: is longer than 1000000 characters"),
        ("\n\n", "its first line is blank"),
        ("lon,lat,pga\n141,42,10\n141,91,10\n", "line 3: found longitude 141 and latitude 91, expected degrees"),
        ("lon,lat,pga\n141,42,inf\n", "line 2: found 'inf' as pga, expected numbers"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        stations(tmp_path, text)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip", "tar"])
def test_a_packed_table_is_refused_whatever_it_is_called(tmp_path, kind):
    """It is not unpacked: a file of a kilobyte may hold terabytes."""
    path = tmp_path / "stations.csv"
    packed = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
    if kind in packed:
        path.write_bytes(packed[kind](b"lon,lat,pga\n"))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.csv", "lon,lat,pga\n")
    else:
        with tarfile.open(path, "w") as file:
            file.addfile(tarfile.TarInfo("a.csv"))
    with pytest.raises(InputError, match=rf"stations.csv: is a?n? ?{kind}.*, expected a CSV file"):
        read_stations(ShakingConfig(stations=path, unit="%g"))


def test_a_table_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "stations.csv").write_bytes("lon,lat,pga,名\n".encode("gbk"))
    with pytest.raises(InputError, match="found text that is not UTF-8"):
        read_stations(ShakingConfig(stations=tmp_path / "stations.csv", unit="%g"))


def test_a_folder_in_place_of_a_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder; expected a file"):
        read_stations(ShakingConfig(stations=tmp_path, unit="%g"))


FIELD = st.one_of(
    st.floats(allow_nan=True).map(repr), st.text(max_size=6), st.sampled_from(["", " ", "NA", "141", "42"])
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(st.lists(FIELD, max_size=5), max_size=5), st.sampled_from([",", ";", "\t", ", "]))
def test_whatever_a_table_holds_it_is_read_by_its_header_or_refused_in_one_line(tmp_path_factory, rows, comma):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("lon,lat,pga\n" + "\n".join(comma.join(row) for row in rows), encoding="utf-8", errors="replace")
    try:
        table = read_table(path, ["lon", "lat", "pga"], numbers=["lon", "lat", "pga"])
    except InputError as refused:
        lines = str(refused).splitlines()
        assert len(lines) == 1
        return
    text = path.read_text(encoding="utf-8").splitlines()
    for line, row in table.iterrows():  # the witness splits the line
        for field, value in zip(text[line - 1].split(","), row, strict=True):
            assert np.isnan(value) or float(field.strip().strip('"')) == value


def test_a_table_may_have_blanks_a_byte_order_mark_and_columns_that_do_not_matter(tmp_path):
    """As spreadsheets write them."""
    (tmp_path / "stations.csv").write_bytes(b"\xef\xbb\xbflon, lat, pga, name\r\n141 , 42,  10, A\r\n142, 43, , B\r\n")
    found = read_stations(ShakingConfig(stations=tmp_path / "stations.csv", unit="%g"))
    np.testing.assert_array_equal([found.lon_deg, found.lat_deg, found.pga_g], [[141], [42], [0.1]])
