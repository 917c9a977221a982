"""The services that inputs of an event are fetched from: the only place that knows their addresses."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from coslide.config.records import StrictModel, first_problem
from coslide.config.toml import read_toml
from coslide.errors import InputError

_Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")]
_PREFIX = "COSLIDE_"


class Services(StrictModel):
    """Addresses of services, and how they are asked. Users and passwords belong into a netrc file, not in here.

    Examples
    --------
    >>> from coslide import Services
    >>> Services(stac_url="catalog/catalog.json").scene_collection
    'sentinel-2-c1-l2a'
    """

    comcat_url: _Address = "https://earthquake.usgs.gov/fdsnws/event/1"
    """Earthquake catalogue (FDSN event service with the GeoJSON of ComCat)."""
    stac_url: str = Field(default="https://earth-search.aws.element84.com/v1", min_length=1)
    """STAC API, or a static catalog: an address or a file."""
    scene_collection: str = "sentinel-2-c1-l2a"
    """Collection of Sentinel-2 L2A in it."""
    dem_collection: str = "cop-dem-glo-30"
    """Collection of the Copernicus DEM GLO-30 in it."""
    s3_url: _Address = "https://{bucket}.s3.amazonaws.com"
    """Where `s3://bucket/...` is read without an account."""
    sas_url: _Address | None = None
    """Where a token for `{collection}` is given to anybody, to be added to addresses (Planetary Computer)."""
    gauges_url: _Address = "https://www.ncei.noaa.gov/access/services/data/v1"
    """Daily rain of gauges (GHCN-Daily), by the names of stations."""
    gauges_list_url: _Address = "https://www.ncei.noaa.gov/pub/data/ghcn/daily/ghcnd-inventory.txt"
    """List of its stations, with what each measures and since when."""
    chirps_url: _Address = "https://data.chc.ucsb.edu/products/CHIRPS-2.0"
    """Daily rain from satellites and gauges (CHIRPS), where there are too few gauges."""
    faults_url: _Address = (
        "https://raw.githubusercontent.com/GEMScienceTools/gem-global-active-faults/master/geojson/"
        "gem_active_faults_harmonized.geojson"
    )
    """Active faults (GEM), where neither you nor the ShakeMap has one."""
    timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """How long a server may be silent."""
    tries: int = Field(default=5, ge=1, le=100)
    """How often a request is made before it has failed."""
    at_once: int = Field(default=4, ge=1, le=64)
    """How many downloads go on at once."""


def read_services(file: Path | None = None, given: Mapping[str, str] | None = None) -> Services:
    """Read which services to ask.

    Parameters
    ----------
    file
        TOML with keys of `Services`.
    given
        Keys and values that come before all else, as from the command line. Between the two comes the environment:
        ``COSLIDE_STAC_URL`` and so on.

    Raises
    ------
    InputError
        If the file cannot be read, a key is unknown or a value is none.

    Examples
    --------
    >>> read_services(given={"tries": "2"}).tries
    2
    """
    table = {} if file is None else read_toml(file)
    names = {key: f"{_PREFIX}{key.upper()}" for key in Services.model_fields}
    environment = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    try:
        return Services.model_validate({**table, **environment, **(given or {})})
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        where = "--service" if key in (given or {}) else names.get(key, "") if key in environment else str(file)
        raise InputError(f"{where}: {first_problem(error)}") from None
