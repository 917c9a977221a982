"""ShakeMap grids: whatever order, namespace and units they come in."""

import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from coslide.errors import InputError
from coslide.sources.shaking import read_shakemap

NAMESPACE = "http://earthquake.usgs.gov/eqcenter/shakemap"
PGA = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 26.0]])  # north to south
WEST, NORTH, STEP = -122.5, 37.2, 0.5


def grid_xml(path, fields, *, namespace=NAMESPACE, before="", west=WEST, order=slice(None), **specification):
    """Write fields, {name: (units, (row, col))}, as a grid.xml of ShakeMap; LON and LAT come first."""
    rows, columns = next(iter(fields.values()))[1].shape
    lon, lat = west + STEP * np.arange(columns), NORTH - STEP * np.arange(rows)
    table = {"LON": ("dd", np.tile(lon, (rows, 1))), "LAT": ("dd", np.repeat(lat[:, None], columns, 1)), **fields}
    corners = {"lon_min": lon[0], "lat_min": lat[-1], "lon_max": lon[-1], "lat_max": lat[0]}
    described = {**corners, "nlon": columns, "nlat": rows, **specification}
    elements = "".join(
        f'<grid_field index="{i}" name="{name}" units="{units}" />\n'
        for i, (name, (units, _)) in enumerate(table.items(), 1)
    )
    values = np.stack([values for _, values in table.values()], axis=-1).reshape(-1, len(table))[order]
    data = "\n".join(" ".join(f"{number:.6g}" for number in row) for row in values)
    attributes = " ".join(f'{key}="{value}"' for key, value in described.items() if value is not None)
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>{before}<shakemap_grid xmlns="{namespace}" shakemap_id="us1"'
        f' shakemap_version="3" map_status="RELEASED"><event magnitude="6.5" lon="-121.5" lat="36.5" />'
        f"<grid_specification {attributes} />\n"
        f"{elements}<grid_data>\n{data}\n</grid_data></shakemap_grid>"
    )
    return path


def test_pga_is_found_by_its_name_and_its_rows_run_from_north_to_south(tmp_path):
    """R26: here it is the last field, after PGV and SVEL."""
    fields = {"PGV": ("cms", PGA * 7), "SVEL": ("ms", PGA * 100), "PGA": ("pctg", PGA)}
    found = read_shakemap(grid_xml(tmp_path / "grid.xml", fields))
    np.testing.assert_allclose(found.pga_g.values, PGA / 100, rtol=1e-6)
    assert found.ln_std is None
    assert found.pga_g.geobox.crs == "EPSG:4326"


def test_nodes_are_the_centres_of_pixels(tmp_path):
    """R28: the outer corner lies half a step to the north-west of the first node."""
    transform = read_shakemap(grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)})).pga_g.geobox.affine
    np.testing.assert_allclose(transform @ (0.5, 0.5), (WEST, NORTH))
    np.testing.assert_allclose(transform @ (3.5, 2.5), (WEST + 3 * STEP, NORTH - 2 * STEP))


def test_printed_places_that_drift_do_not_move_the_nodes(tmp_path):
    """R28: the corners and the number of nodes count."""
    path = grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)})
    drifted = path.read_text().replace("-121.5 ", "-121.50017 ").replace(" 36.7 ", " 36.69983 ")
    assert drifted != path.read_text()
    path.write_text(drifted)
    np.testing.assert_allclose(read_shakemap(path).pga_g.geobox.affine @ (2.5, 1.5), (-121.5, 36.7))


@pytest.mark.parametrize(
    ("units", "stored"),
    [
        ("pctg", PGA),
        ("%g", PGA),
        ("pct g", PGA),
        ("g", PGA / 100),
        ("ln(g)", np.log(PGA / 100)),
        ("ln(pctg)", np.log(PGA)),
        ("cm/s2", PGA * 9.80665),
    ],
)
def test_every_unit_becomes_g(tmp_path, units, stored):
    """R26."""
    found = read_shakemap(grid_xml(tmp_path / "grid.xml", {"PGA": (units, stored)}))
    np.testing.assert_allclose(found.pga_g.values, PGA / 100, rtol=1e-4)
    assert not any("no unit" in note for note in found.notes)


def test_without_a_unit_pga_is_percent_of_g_and_the_log_says_so(tmp_path):
    """R26: as the file of 1989 has it."""
    found = read_shakemap(grid_xml(tmp_path / "grid.xml", {"PGA": ("", PGA)}))
    np.testing.assert_allclose(found.pga_g.values, PGA / 100, rtol=1e-6)
    assert any("no unit" in note and "percent of g" in note for note in found.notes)


def test_the_standard_deviation_comes_from_the_grid_or_from_the_file_beside_it(tmp_path):
    """R26: the file that is named goes first."""
    both = {"PGA": ("pctg", PGA), "STDPGA": ("ln(pctg)", PGA / 20)}
    grid = grid_xml(tmp_path / "grid.xml", both)
    np.testing.assert_allclose(read_shakemap(grid).ln_std.values, PGA / 20, rtol=1e-5)
    beside = grid_xml(tmp_path / "uncertainty.xml", {"STDPGV": ("ln(cm/s)", PGA), "STDPGA": ("", PGA / 50)})
    np.testing.assert_allclose(read_shakemap(grid, uncertainty=beside).ln_std.values, PGA / 50, rtol=1e-5)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ('lon="-121.5" lat="36.5"', (-121.5, 36.5)),
        ('lon="-121.5"', None),
        ('lon="here" lat="36.5"', None),
        ('lon="nan" lat="36.5"', None),
        ('lon="0" lat="99"', None),
    ],
)
def test_the_epicentre_is_read_where_it_is_a_place_on_earth(tmp_path, told, expected):
    path = grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)})
    path.write_text(path.read_text().replace('lon="-121.5" lat="36.5"', told))
    assert read_shakemap(path).epicentre == expected


@pytest.mark.parametrize("namespace", [NAMESPACE, "urn:other"])
def test_the_namespace_does_not_matter(tmp_path, namespace):
    """R26."""
    path = grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)}, namespace=namespace)
    assert read_shakemap(path).version.startswith("us1 version 3 (RELEASED")
    path.write_text(path.read_text().replace(f'xmlns="{namespace}"', ""))
    np.testing.assert_allclose(read_shakemap(path).pga_g.values, PGA / 100, rtol=1e-6)


def test_a_map_across_the_180th_meridian_goes_on_eastwards(tmp_path):
    """R28: longitudes are printed as -180 to 180."""
    path = grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)}, west=179.0, lon_max=-179.5)
    path.write_text(path.read_text().replace("\n180.5 ", "\n-179.5 "))
    np.testing.assert_allclose(read_shakemap(path).pga_g.geobox.affine @ (3.5, 0.5), (180.5, NORTH))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"PGA": ("cm/s", PGA)}, "found the unit 'cm/s' for PGA, expected pctg"),
        ({"PGA": ("intensity", PGA)}, "found the unit 'intensity' for PGA"),
        ({"PGV": ("cms", PGA)}, "has no field PGA; found LON, LAT, PGV"),
        ({"PGA": ("g", PGA)}, "found PGA from 1 to 26 g with unit 'g'"),
        ({"PGA": ("", PGA * 100)}, "found PGA from 1 to 26 g with unit '%g'"),
        ({"PGA": ("pctg", np.log(PGA / 100))}, "found PGA from -0.0461"),
        ({"PGA": ("pctg", PGA * 0)}, "holds no value of PGA above 0"),
        ({"PGA": ("pctg", PGA * np.nan)}, "holds no value of PGA"),
        ({"PGA": ("pctg", PGA), "STDPGA": ("m", PGA / 50)}, "found the unit 'm' for STDPGA"),
        ({"PGA": ("pctg", PGA), "STDPGA": ("", PGA)}, "found 1 to 26, expected standard deviations of ln PGA"),
    ],
)
def test_values_and_units_that_cannot_be_are_refused(tmp_path, fields, message):
    """R27: and the line names the file."""
    with pytest.raises(InputError, match=f"grid.xml: {message}"):
        read_shakemap(grid_xml(tmp_path / "grid.xml", fields))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nlon": 5}, r"found 36 values in grid_data, expected 45 \(3 fields of 15 nodes\)"),
        ({"nlon": 1}, "expected an area and at least 2 x 2 nodes"),
        ({"nlat": "three"}, "could not convert string to float: 'three', expected numbers"),
        ({"lat_max": 10}, "expected an area"),
        ({"lon_max": None}, "grid_specification has no lon_max"),
        ({"order": slice(None, None, -1)}, "is in another order, expected rows from west to east, north to south"),
        ({"before": '<!DOCTYPE a [<!ENTITY b "c">]>'}, "found a DTD or entities"),
        ({"before": '<!DOCTYPE a SYSTEM "file:///etc/passwd">'}, "found a DTD or entities"),
    ],
)
def test_a_grid_that_is_not_what_it_says_is_refused(tmp_path, options, message):
    """R26: in one line."""
    with pytest.raises(InputError, match=message) as caught:
        read_shakemap(grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)}, **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('index="3"', 'index="4"'), r"found grid_field with index \['1', '2', '4'\], expected 1, 2, 3"),
        (('index="3"', ""), "found grid_field with index"),
        (("grid_data", "data"), "expected a ShakeMap grid.xml"),
        (("</shakemap_grid>", ""), "is not XML"),
        (("-122.5 37.2 1\n", "-122.5 37.2 high\n"), "holds something that is no number"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, change, message):
    """R26."""
    path = grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)})
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=message):
        read_shakemap(path)


def test_an_uncertainty_file_without_that_of_pga_is_refused(tmp_path):
    """It was asked for."""
    grid = grid_xml(tmp_path / "grid.xml", {"PGA": ("pctg", PGA)})
    with pytest.raises(InputError, match="uncertainty.xml: has no field STDPGA; found LON, LAT, STDPGV"):
        read_shakemap(grid, uncertainty=grid_xml(tmp_path / "uncertainty.xml", {"STDPGV": ("", PGA)}))
    with pytest.raises(InputError, match=r"none.xml: cannot be read"):
        read_shakemap(tmp_path / "none.xml")


def test_a_large_grid_is_read_in_seconds(tmp_path):
    """R26: 7 MB, as large events have; here by the clock, with room for a busy machine."""
    values = np.random.default_rng(0).uniform(1, 99, (200, 600))
    fields = {f"F{i}": ("", values) for i in range(5)} | {"PGA": ("pctg", values)}
    path = grid_xml(tmp_path / "grid.xml", fields)
    started = time.perf_counter()
    found = read_shakemap(path)
    assert time.perf_counter() - started < 5
    np.testing.assert_allclose(found.pga_g.values, values / 100, rtol=1e-4)


@pytest.mark.realdata
def test_the_real_map_of_1989_says_what_its_text_says(data_folder):
    """R26, R28: node by node, against the text read as a table; its units are empty."""
    folder = data_folder / "loma-prieta-1989"
    found = read_shakemap(folder / "grid.xml", uncertainty=folder / "uncertainty.xml")
    text = ET.parse(folder / "grid.xml").getroot().find(f"{{{NAMESPACE}}}grid_data").text  # noqa: S314
    for line in text.strip().splitlines()[::37]:
        lon, lat, pga, *others = map(float, line.split())
        column, row = ~found.pga_g.geobox.affine @ (lon, lat)
        place = int(row), int(column)
        np.testing.assert_allclose((column % 1, row % 1), 0.5, atol=0.01)
        np.testing.assert_allclose(found.pga_g.values[place], pga / 100, rtol=1e-6)
        np.testing.assert_allclose(found.ln_std.values[place], others[5], rtol=1e-6)
    assert any("no unit" in note for note in found.notes)
