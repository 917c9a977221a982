"""Products of other satellites than Sentinel-2: what their names and `coslide.config.sensors` tell of their rasters."""

import re
from pathlib import Path

from coslide.config.sensors import Sensor, sensor_of
from coslide.errors import InputError
from coslide.sources.bands import Band
from coslide.sources.safe import Product, read_time


def sensor_products(folder: Path) -> dict[tuple[Sensor, str], dict[str, re.Match[str]]]:
    """Group the rasters of a folder by sensor and product, by their names and what these tell.

    Raises
    ------
    InputError
        If the folder cannot be listed.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from None
    products: dict[tuple[Sensor, str], dict[str, re.Match[str]]] = {}
    for name in names:
        if (found := sensor_of(name)) is not None:
            sensor, match = found
            product = match["scene"] if "band" in match.groupdict() else name
            products.setdefault((sensor, product), {})[name] = match
    return products


def describe_sensor_product(address: Path) -> tuple[Product, list[Band]] | None:
    """Describe a product of a sensor: any of its rasters, or a folder that holds those of one product.

    Returns
    -------
    tuple or None
        The product, without its rasters, and its bands, with the mask as ``"SCL"``; None if it is of no such sensor.

    Raises
    ------
    InputError
        If a folder cannot be listed or holds several products.
    """
    folder = address if address.is_dir() else address.parent
    products = sensor_products(folder)
    if folder != address:
        products = {key: files for key, files in products.items() if address.name in files}
    if not products:
        return None
    if len(products) > 1:
        found = " and ".join(sorted(next(iter(files)) for files in products.values())[:2])
        raise InputError(f"{address}: holds {len(products)} products; name a raster of each instead, such as {found}")
    ((sensor, _), files) = next(iter(products.items()))
    told = next(iter(files.values())).groupdict(default="")
    time = read_time(f"{told['date']}T{told['time']}" if "time" in told else told["date"])
    data = tuple(band.number for band in sensor.bands)
    bands = [
        Band(band.channel, str(folder / name), band.number, sensor.scale, sensor.offset, data=data)
        for band in sensor.bands
        for name, match in files.items()
        if match.groupdict().get("band", "") == band.file
    ]
    mask = folder / sensor.mask.file.format(**told)
    if mask.is_file():
        bands.append(Band("SCL", str(mask), 1, data=tuple({f.number for f in sensor.mask.flags}), mask=sensor.mask))
    sensed = None if time is None else (time, time)
    return Product(str(address), {}, sensed, sensor=sensor.name), bands
