"""What a year of earthquakes of M >= 6.5 would take: areas, bytes that are read, core hours, and hours on a cluster.

    python benchmarks/planet.py
    python benchmarks/planet.py bytes DATA

Prints the tables of ``docs/scaling.md``. What is measured stands in `MEASURED` and what is assumed in `ASSUMED`, each
with where it comes from; everything else is computed. `bytes` measures how well the real bands in DATA (the folder of
``COSLIDE_DATA``) are compressed.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from coslide.config.fetching import FetchOptions
from coslide.simulate.geology import rupture_size_km
from coslide.simulate.shaking import pga_median_g

MEASURED = {
    "bytes, pixel of 10 m": 1.32,  # mean of four real bands: planet.py bytes
    "bytes, pixel of 20 m": 1.45,  # mean of two real bands: planet.py bytes
    "bytes, pixel of SCL": 0.2,  # simulated scene of 3 km with its overviews
    "bytes of DEM, km2": 3200.0,  # simulated, float32, deflate with predictor 3
    "build, core s / Mpx": 2 * 95 / 120.6,  # performance.md: cube.py pieces 10980, 39 bands
    "map EGCN, core s / Mpx": 2 * 131 / 120.6,  # performance.md: whole_tile.py, width 16, one orientation
    "map shipped, core s / Mpx": 11.8,  # coslide map post-pre-rgb-terrain: 2 networks, 8 orientations
    "inventory, core s / Mpx": 8 / 120.6,  # performance.md: whole_tile.py
    "start, core s": 9.0,  # coslide map on 1.44 Mpx, less what is in proportion to the views
    "report, core s": 8.0,  # coslide report on 0.6 and 1.4 Mpx: 8.2 and 6.9
}
ASSUMED = {
    "events of M >= 6 a year": 150.0,  # USGS: 134 of M 6 to 6.9, 15 of M 7 to 7.9, 1 of M 8 and more
    "b": 1.0,  # of Gutenberg and Richter
    "largest magnitude": 9.0,
    "share on land": 1 / 3,
    "Vs30, m/s": 760.0,
    "dip, degrees": 45.0,
    "block of a COG, km": 10.24,  # 1024 pixels of 10 m
    "other bytes of an event": 60e6,  # ShakeMap, list of gauges (34 MB), or eleven days of CHIRPS, faults
    "machines": 20,
    "cores of a machine": 2,
    "MB/s of the network": 12.5,  # 100 Mbit/s, shared by all machines
    "share computed twice": 1 / 9,  # windows at the seams of blocks: scaling.md
    "efficiency": 0.79,  # of two workers: scaling.md
}
CLASSES = ((6.5, 7.0), (7.0, 7.5), (7.5, 8.0), (8.0, 9.0))
_STEP = 0.05
_BLOCK_ROWS = 1024


class Demand(NamedTuple):
    """What one earthquake takes: the area that is fetched in km2, bytes that are read, and core seconds by step."""

    area_km2: float
    scene_bytes: float
    dem_bytes: float
    build_s: float
    map_s: float
    egcn_s: float
    rest_s: float

    @property
    def read_bytes(self) -> float:
        """All that is read."""
        return self.scene_bytes + self.dem_bytes + ASSUMED["other bytes of an event"]

    @property
    def core_s(self) -> float:
        """Core seconds with the shipped model."""
        return self.build_s + self.map_s + self.rest_s


def yearly(magnitude: float) -> float:
    """Count the earthquakes of this magnitude or more in a mean year (Gutenberg and Richter)."""
    counts = [ASSUMED["events of M >= 6 a year"] * 10 ** (ASSUMED["b"] * (6 - m)) for m in (magnitude, _largest())]
    return max(counts[0] - counts[1], 0.0)


def _largest() -> float:
    return ASSUMED["largest magnitude"]


def reach_km(magnitude: float, pga_g: float) -> float:
    """Find the distance from the rupture up to which the median PGA is `pga_g` or more, by halving.

    Boore et al. (2014), for a reverse fault (`coslide.simulate.shaking.pga_median_g`, tested against published tables).
    """
    near, far = 0.0, 400.0
    while far - near > 0.01:
        middle = (near + far) / 2
        shaking = pga_median_g(min(magnitude, 8.5), middle, ASSUMED["Vs30, m/s"], style="reverse")
        near, far = (middle, far) if shaking >= pga_g else (near, middle)
    return near


def fetched_km2(magnitude: float, options: FetchOptions) -> tuple[float, float]:
    """Compute the area that is shaken by `options.pga_g` or more, and that of the rectangle around it, in km2.

    The rupture is a rectangle of the median length and width for the magnitude (Wells and Coppersmith 1994), seen from
    above; what is shaken lies within `reach_km` of it. The rectangle follows the grid, so its mean over all strikes is
    taken.
    """
    length, width = rupture_size_km(magnitude, "reverse")
    width *= math.cos(math.radians(ASSUMED["dip, degrees"]))
    reach = reach_km(magnitude, options.pga_g)
    shaken = length * width + 2 * reach * (length + width) + math.pi * reach**2
    strike = np.radians(np.arange(0.5, 90))
    sides = [a * np.cos(strike) + b * np.sin(strike) + 2 * reach for a, b in ((length, width), (width, length))]
    return shaken, float(np.mean(sides[0] * sides[1]))


def demand(area_km2: float) -> Demand:
    """Compute what an area takes: two scenes in blocks of COGs, the DEM with a rim, and the time of each step."""
    side, block = math.sqrt(area_km2), ASSUMED["block of a COG, km"]
    read_km2 = (side + block) ** 2  # blocks that the area touches, whole
    of_scene = 4 * 1e4 * MEASURED["bytes, pixel of 10 m"]
    of_scene += 2500 * (6 * MEASURED["bytes, pixel of 20 m"] + MEASURED["bytes, pixel of SCL"])
    mpx = area_km2 / 100
    return Demand(
        area_km2=area_km2,
        scene_bytes=2 * read_km2 * of_scene,
        dem_bytes=(side + 2) ** 2 * MEASURED["bytes of DEM, km2"],
        build_s=mpx * MEASURED["build, core s / Mpx"],
        map_s=mpx * MEASURED["map shipped, core s / Mpx"],
        egcn_s=mpx * MEASURED["map EGCN, core s / Mpx"],
        rest_s=mpx * MEASURED["inventory, core s / Mpx"] + MEASURED["start, core s"] + MEASURED["report, core s"],
    )


def year(options: FetchOptions, first: float, last: float) -> Iterator[tuple[float, float, float, Demand]]:
    """Give for magnitudes in steps of 0.05 how many a year there are, what is shaken and around it, and the demand."""
    for lower in np.arange(first, last - 1e-9, _STEP):
        shaken, around = fetched_km2(lower + _STEP / 2, options)
        count = yearly(lower) - yearly(lower + _STEP)
        yield count, shaken, around, demand(min(around, options.largest_km2))


def tiles(area_km2: float) -> float:
    """Count the Sentinel-2 tiles (every 100 km) that a square of this area touches on the mean."""
    return (math.sqrt(area_km2) / 100 + 1) ** 2


def print_classes(options: FetchOptions) -> None:
    """Print what there is of each class of magnitudes, the means of one earthquake, and a year of all."""
    print("| magnitude | a year | shaken by 0.10 g | rectangle around | fetched | tiles | read | core h |")
    print("|---|---|---|---|---|---|---|---|")
    for first, last in CLASSES:
        parts = list(year(options, first, last))
        count = sum(part[0] for part in parts)

        each = [(part[1], part[2], part[3].area_km2, part[3].read_bytes, part[3].core_s) for part in parts]
        shaken, around, area, read, core_s = np.average(each, axis=0, weights=[part[0] for part in parts])
        print(
            f"| {first:.1f} to {last:.1f} | {count:.1f} | {shaken:,.0f} km² | {around:,.0f} km² | {area:,.0f} km² | "
            f"{tiles(area):.1f} | {read / 1e9:.1f} GB | {core_s / 3600:.2f} |"
        )


def print_year(options: FetchOptions) -> None:
    """Print the sums of a year, if all were on land and with the share that is assumed."""
    parts = list(year(options, 6.5, _largest()))

    def total(name: str) -> float:
        return sum(count * float(getattr(one, name)) for count, _, _, one in parts)

    count, share = sum(part[0] for part in parts), ASSUMED["share on land"]
    rows = [
        ("earthquakes", count, "{:.0f}"),
        ("area, km²", total("area_km2"), "{:,.0f}"),
        ("read: scenes before and after, GB", total("scene_bytes") / 1e9, "{:.1f}"),
        ("read: DEM, GB", total("dem_bytes") / 1e9, "{:.1f}"),
        ("read: all else, GB", count * ASSUMED["other bytes of an event"] / 1e9, "{:.1f}"),
        ("core hours: build", total("build_s") / 3600, "{:.1f}"),
        ("core hours: map, shipped model", total("map_s") / 3600, "{:.1f}"),
        ("core hours: map, EGCN of width 16 instead", total("egcn_s") / 3600, "{:.1f}"),
        ("core hours: start, inventory, report", total("rest_s") / 3600, "{:.1f}"),
    ]
    print("\n| a year | all on land | a third on land |\n|---|---|---|")
    for name, value, form in rows:
        print(f"| {name} | {form.format(value)} | {form.format(value * share)} |")


def print_cluster(options: FetchOptions) -> None:
    """Print the wall time on a cluster: of a year, earthquake by earthquake, and of the largest one by itself."""
    cores = ASSUMED["machines"] * ASSUMED["cores of a machine"]
    speed = ASSUMED["MB/s of the network"] * 1e6
    parts = list(year(options, 6.5, _largest()))
    computed = sum(count * one.core_s for count, _, _, one in parts) / cores / 3600
    read = sum(count * one.read_bytes for count, _, _, one in parts) / speed / 3600
    one = demand(options.largest_km2)
    rows = math.sqrt(one.area_km2) * 100
    blocks = math.ceil(rows / _BLOCK_ROWS)
    alone = ASSUMED["cores of a machine"]
    mapped = one.map_s * (1 + ASSUMED["share computed twice"]) / blocks / ASSUMED["efficiency"]
    fetch, build = one.read_bytes / speed, one.build_s / alone
    steps = [
        ("fetch", fetch, fetch, f"{one.read_bytes / 1e9:.1f} GB through the network"),
        ("build", build, build, f"one machine of {alone} cores"),
        (
            "map",
            one.map_s / alone,
            mapped,
            f"{blocks} blocks of {_BLOCK_ROWS} rows: {blocks} of {cores} cores have one",
        ),
        ("start, inventory, report", one.rest_s, one.rest_s, "one core"),
    ]
    title = f"the largest earthquake, {one.area_km2:,.0f} km²"
    print(f"\n| {title} | one machine | the cluster | what limits the cluster |\n|---|---|---|---|")
    for name, single, seconds, why in steps:
        print(f"| {name} | {single:.0f} s | {seconds:.0f} s | {why} |")
    sums = [sum(step[i] for step in steps) for i in (1, 2)]
    print(f"| together | {sums[0]:.0f} s | {sums[1]:.0f} s | |")
    print("\n| a year on the cluster, all on land | hours |\n|---|---|")
    print(f"| reading, all machines together | {read:.1f} |\n| computing, {cores} cores | {computed:.1f} |")


def measure(data: Path) -> None:
    """Print the bytes of a pixel of real bands, compressed as COGs are (deflate, differences of neighbours)."""
    for path in sorted(data.glob("sentinel2-six-bands/*_band.nc")):
        with rasterio.open(path) as file:
            values, size_m = file.read(1).astype(np.uint16), file.transform.a
        place = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "uint16"}
        blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256}
        with MemoryFile() as memory:
            with memory.open(driver="GTiff", compress="deflate", predictor=2, **place, **blocks) as file:
                file.write(values, 1)
            print(f"{path.stem:12} {size_m:2.0f} m  {len(memory.read()) / values.size:.2f} bytes a pixel")


def main() -> None:
    """Print the tables."""
    if sys.argv[1:2] == ["bytes"]:
        measure(Path(sys.argv[2]))
        return
    options = FetchOptions()
    print_classes(options)
    print_year(options)
    print_cluster(options)


if __name__ == "__main__":
    main()
