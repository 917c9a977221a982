"""The map of a report in a real browser, with the network off: what a person does with it works, and is told right."""

import csv
import io
import json
import re
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio

from coslide.pipeline.report import write_report

pytestmark = pytest.mark.slow
EVIL = '</script><script>document.title = "taken"</script><img src=x onerror="document.title=1">'
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NO_GL = ["--disable-gpu", "--disable-3d-apis"]


@pytest.fixture(scope="module")
def folder(made_up_run, tmp_path_factory):
    """A run whose first landslide has a name that would like to be a script."""
    out = shutil.copytree(made_up_run, tmp_path_factory.mktemp("browser") / "run")
    landslides = gpd.read_file(out / "landslides.gpkg", layer="landslides")
    landslides["name"] = [EVIL, *[None] * (len(landslides) - 1)]
    landslides.to_file(out / "landslides.gpkg", layer="landslides", driver="GPKG")
    write_report(out)
    return out


@pytest.fixture(scope="module")
def landslides(folder):
    return gpd.read_file(folder / "landslides.gpkg", layer="landslides")


@pytest.fixture(scope="module")
def playwright():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def launch(playwright):
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: install that of the distribution (apt install chromium)")
    opened = []

    def start(arguments):
        opened.append(playwright.chromium.launch(executable_path=path, args=[*arguments, "--no-sandbox"]))
        return opened[-1]

    yield start
    for browser in opened:
        browser.close()


@pytest.fixture(scope="module")
def browser(launch):
    return launch(SOFTWARE_GL)


class Visit:
    """A page that was opened with the network off, and what it complained of and asked for."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.context.set_offline(True)
        self.page = self.context.new_page()
        self.complaints, self.asked = [], []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.resolve().as_uri())

    def ready(self):
        self.page.wait_for_selector("#map[data-ready=yes]", timeout=60_000)
        self.page.wait_for_selector("#told:not(:empty)")  # the page lets no text be run, as `wait_for_function` would
        return self

    def text(self, name):
        return self.page.inner_text(f"#{name}")

    def slide(self, name, value):
        self.page.eval_on_selector(
            f"#{name}", "(one, value) => { one.value = value; one.dispatchEvent(new Event('input')) }", str(value)
        )

    def save(self, name):
        with self.page.expect_download() as caught:
            self.page.click(f"#{name}")
        return caught.value.path().read_text(encoding="utf-8")

    def pixel(self, x, y):
        """The colour of the screen in a point of the map, given as shares of it."""
        self.page.wait_for_timeout(300)
        from PIL import Image

        shot = Image.open(io.BytesIO(self.page.locator("#map").screenshot())).convert("RGB")
        return np.asarray(shot.getpixel((round(x * shot.width), round(y * shot.height))), dtype=int)


@pytest.fixture
def visit(browser, folder):
    opened = Visit(browser, folder / "report.html", viewport={"width": 1280, "height": 1000}).ready()
    yield opened
    opened.context.close()


def page_data(folder):
    text = (folder / "report.html").read_text()
    return json.loads(re.search(r'id="map-data">(.*?)</script>', text, re.DOTALL)[1])


def test_it_opens_without_a_network_a_complaint_or_a_request(visit, folder):
    assert visit.complaints == []
    others = [url for url in visit.asked if not url.startswith(("data:", "blob:"))]
    assert others == [(folder / "report.html").resolve().as_uri()]
    assert visit.page.title() == "Made-up earthquake"


def test_what_cannot_be_judged_is_not_counted_and_the_rest_is_that_of_the_scores(visit, folder, landslides):
    metrics = json.loads((folder / "metrics.json").read_text())["pixels"]
    assert visit.text("count") == f"{len(landslides)} of {len(landslides)}"
    for name in ("precision", "recall", "f1"):
        for which in ("kept", "cut"):
            assert float(visit.text(f"{which}-{name}")) == pytest.approx(metrics[name], abs=5e-4)


def test_the_size_slider_leaves_landslides_out_and_the_numbers_follow(visit, landslides):
    visit.slide("size", 60)
    least = float(visit.text("size-value").removesuffix(" m²").replace(",", ""))
    kept = landslides[landslides.area_m2 >= least]
    assert 0 < len(kept) < len(landslides)
    assert visit.text("count") == f"{len(kept)} of {len(landslides)}"
    assert float(visit.text("kept-area").split()[0]) == pytest.approx(kept.area_m2.sum() / 1e6, abs=0.006)
    assert len(json.loads(visit.save("geojson"))["features"]) == len(kept)
    visit.page.click("#all")
    assert visit.text("count") == f"{len(landslides)} of {len(landslides)}"


def test_at_another_threshold_the_pixels_are_counted_anew_and_landslides_below_it_leave(visit, folder, landslides):
    table = page_data(folder)["thresholds"]
    with rasterio.open(folder / "probability.tif") as file:
        probability = file.read(1)
    highest = landslides.probability_max.sort_values().to_numpy()
    place = int(np.searchsorted(table["thresholds"], highest[len(highest) // 2])) - 1
    threshold = np.float32(table["thresholds"][place])
    visit.slide("threshold", place)
    expected = np.count_nonzero(probability >= threshold) * 1e-4
    assert float(visit.text("cut-area").split()[0]) == pytest.approx(expected, abs=0.006)
    kept = landslides[landslides.probability_max.astype(np.float32) >= threshold]
    assert visit.text("count") == f"{len(kept)} of {len(landslides)}"
    visit.slide("threshold", 0)  # lower than its own threshold a map has no other outlines
    assert visit.text("count") == f"{len(landslides)} of {len(landslides)}"


def test_the_swipe_moves_by_keys_and_by_hand_and_shows_the_other_scene(visit):
    for name in ("recognised", "mapped", "nodata", "area", "faults"):
        if visit.page.query_selector(f"input[value={name}]"):
            visit.page.uncheck(f"input[value={name}]")
    handle = visit.page.locator("#swipe")
    after = visit.pixel(0.45, 0.62), visit.page.check("input[value=after]"), visit.pixel(0.45, 0.62)
    visit.page.check("input[value=before]")
    before = visit.pixel(0.45, 0.62)
    visit.page.check("input[value=swipe]")
    np.testing.assert_allclose(after[0], before, atol=12)  # left of the middle lies what was before
    handle.focus()
    for _ in range(3):
        visit.page.keyboard.press("PageDown")
    assert handle.get_attribute("aria-valuenow") == "20"
    np.testing.assert_allclose(visit.pixel(0.45, 0.62), after[2], atol=12)
    box = handle.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    visit.page.mouse.down()
    frame = visit.page.locator("#map").bounding_box()
    visit.page.mouse.move(frame["x"] + 0.8 * frame["width"], box["y"] + 60)
    visit.page.mouse.up()
    assert handle.get_attribute("aria-valuenow") == "80"


def test_a_landslide_is_found_by_its_number_and_its_texts_stay_texts(visit, landslides):
    visit.page.fill("#number", str(landslides.id[0]))
    visit.page.click("text=Find >> nth=-1")
    popup = visit.page.locator(".maplibregl-popup-content")
    assert EVIL in popup.inner_text()
    assert f"{landslides.area_m2[0]:,.0f} m²" in popup.inner_text()
    assert popup.locator("img").count() == 0
    assert popup.locator("canvas").count() == 2  # before and after
    assert visit.page.title() == "Made-up earthquake"
    visit.page.fill("#number", "no such")
    visit.page.keyboard.press("Enter")
    assert "There is no recognised landslide no such." in visit.text("told")
    assert visit.complaints == []


def test_a_click_on_a_landslide_tells_of_it(visit):
    visit.page.fill("#number", "1")
    visit.page.keyboard.press("Enter")
    visit.page.click(".maplibregl-popup-close-button")
    visit.page.check("input[value=after]")  # else the handle of the swipe lies in the middle
    box = visit.page.locator("#map").bounding_box()
    visit.page.wait_for_timeout(500)
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40 + 0.5 * (0.4 * box["height"] - 40))
    visit.page.wait_for_selector(".maplibregl-popup-content h3")


def test_coordinates_under_the_pointer_are_those_of_the_projection(visit):
    visit.page.mouse.move(400, 500)
    visit.page.mouse.move(420, 520)
    found = re.search(r"Pointer: ([\d,]+) m E, ([\d,]+) m N.*· ([\d.]+)° N, ([\d.]+)° E", visit.text("coordinates"))
    east, north, lat, lon = (float(text.replace(",", "")) for text in found.groups())
    x, y = pyproj.Transformer.from_crs(4326, 32654, always_xy=True).transform(lon, lat)
    assert np.hypot(east - x, north - y) < 2  # five digits of a degree are a metre


def test_what_is_saved_is_what_is_delivered(visit, landslides):
    saved = gpd.read_file(io.StringIO(visit.save("geojson"))).to_crs(landslides.crs)
    apart = saved.geometry.symmetric_difference(landslides.geometry).area
    assert (apart < 0.01 * landslides.area_m2).all()
    np.testing.assert_allclose(saved.probability_max, landslides.probability_max, atol=5e-4)
    rows = list(csv.DictReader(io.StringIO(visit.save("csv"))))
    assert [int(row["id"]) for row in rows] == landslides.id.tolist()
    assert rows[0]["name"] == EVIL
    np.testing.assert_allclose([float(row["area_m2"]) for row in rows], landslides.area_m2, atol=0.05)


def test_dark_and_light_follow_the_reader_and_the_button(browser, folder):
    def brightness(page):
        return int(re.search(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])

    dark = Visit(browser, folder / "report.html", color_scheme="dark")
    assert brightness(dark.page) < 60
    dark.page.click("#theme")
    assert brightness(dark.page) == 255
    dark.context.close()


def test_without_webgl_the_still_pictures_are_there(launch, folder):
    plain = Visit(launch(NO_GL), folder / "report.html")
    plain.page.wait_for_selector("#no-map:not([hidden])")
    assert not plain.page.is_visible("#map-section")
    assert plain.page.is_visible("text=Before and after")
    assert plain.page.is_visible("#stills img >> nth=0")
    assert plain.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, folder, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    opened = Visit(browser, folder / "report.html", color_scheme=scheme, bypass_csp=True).ready()
    opened.page.fill("#number", "1")
    opened.page.keyboard.press("Enter")
    opened.page.click("#show-stills")
    found = axe.Axe().run(opened.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []
    opened.context.close()


def test_a_phone_needs_no_sideways_scrolling(browser, folder):
    phone = Visit(browser, folder / "report.html", viewport={"width": 390, "height": 800}).ready()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.context.close()


def test_on_paper_the_still_pictures_stand_for_the_map(browser, folder):
    printed = Visit(browser, folder / "report.html").ready()
    assert not printed.page.is_visible("#stills")
    printed.page.emulate_media(media="print")
    assert printed.page.is_visible("#stills")
    assert not printed.page.is_visible("#map-section")
    assert printed.page.pdf(format="A4", prefer_css_page_size=True)[:5] == b"%PDF-"
    printed.context.close()


def test_the_bibtex_is_copied_or_selected(browser, folder):
    opened = Visit(browser, folder / "report.html", permissions=[])
    opened.page.click("#copy")
    opened.page.wait_for_selector("#copy:not(:text-is('Copy'))")
    words = opened.page.inner_text("#copy")
    assert words == "Copied" or "@article{yang2023" in opened.page.evaluate("String(getSelection())")
    opened.context.close()


def test_a_map_without_a_landslide_opens_too(browser, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "none")
    gpd.read_file(copied / "landslides.gpkg", layer="landslides").iloc[:0].to_file(
        copied / "landslides.gpkg", layer="landslides", driver="GPKG"
    )
    opened = Visit(browser, write_report(copied)).ready()
    opened.slide("size", 50)
    assert opened.text("count") == "0 of 0"
    assert opened.text("kept-precision") == "–"
    assert json.loads(opened.save("geojson"))["features"] == []
    assert opened.complaints == []
    opened.context.close()


def test_many_landslides_can_be_used(browser, folder, tmp_path):
    """100,000 of them: the page opens, and a slider is followed."""
    from shapely import box

    copied = shutil.copytree(folder, tmp_path / "many")
    random, grid = np.random.default_rng(0), gpd.read_file(folder / "landslides.gpkg", layer="landslides")
    west, south, east, north = grid.total_bounds
    x, y = random.uniform(west, east, 100_000), random.uniform(south, north, 100_000)
    many = gpd.GeoDataFrame(geometry=box(x, y, x + 10, y + 10), crs=grid.crs)
    rows = pd.concat([grid.drop(columns="geometry").iloc[:1]] * len(many), ignore_index=True)
    many = many.join(rows.assign(id=range(1, len(many) + 1), area_m2=100.0 + 900 * random.random(len(many))))
    many.to_file(copied / "landslides.gpkg", layer="landslides", driver="GPKG")
    page = write_report(copied)
    assert page.stat().st_size < 30e6
    opened = Visit(browser, page).ready()
    opened.slide("size", 50)
    opened.page.wait_for_selector("#told:has-text('are shown')")
    assert opened.text("count").endswith("of 100,000")
    assert opened.complaints == []
    opened.context.close()
