"""The command line of what is fetched: the inputs of an earthquake by its id, and new earthquakes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coslide.errors import InputError
from coslide.options import AsJson, OutFolder
from coslide.tables import print_fetch_plan, print_watch
from coslide.terminal import shown

if TYPE_CHECKING:
    from coslide.config.fetching import FetchOptions
    from coslide.config.services import Services

ServiceFile = Annotated[
    Path | None, typer.Option("--services", metavar="FILE", help="TOML with the addresses of services to ask.")
]
Service = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="NAME=VALUE", help="One of them, as in stac_url=https://...; may be repeated."),
]
Pga = Annotated[float, typer.Option(help="The area to map is the rectangle around this PGA [g] or more.")]
LargestArea = Annotated[float, typer.Option(help="Where it is larger [km2], the PGA is raised until it is not.")]
DaysBefore = Annotated[int, typer.Option(help="How long before the earthquake a scene may be from.")]
DaysAfter = Annotated[int, typer.Option(help="How long after it.")]
MinClear = Annotated[float, typer.Option(help="Share of the area that a scene must show free of clouds and snow.")]


def fetch(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the earthquake in ComCat, as us2000h8ty.")],
    out: OutFolder,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="W S E N", help="Area to map, in degrees, instead of that of the shaking."),
    ] = None,
    pga_g: Pga = 0.10,
    largest_km2: LargestArea = 10_000.0,
    days_before: DaysBefore = 90,
    days_after: DaysAfter = 30,
    min_clear: MinClear = 0.7,
    faults: Annotated[Path | None, typer.Option(help="Lines of the fault that broke, where you know it.")] = None,
    service: Service = None,
    services: ServiceFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be fetched, with dates and sizes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch all that a map of an earthquake needs, and write its event file; goes on where an earlier fetch stopped."""
    from coslide.pipeline.fetch import fetch_event, plan_event

    area = {"bounds_deg": bounds, "pga_g": pga_g, "largest_km2": largest_km2}
    options = _options(**area, days_before=days_before, days_after=days_after, min_clear=min_clear, faults=faults)
    asked = _services(services, service)
    with shown():
        if dry_run:
            plan = plan_event(event_id, options, asked)
        else:
            plan = fetch_event(event_id, out, options, asked)
    print_fetch_plan(plan, as_json=as_json)


def watch(
    out: OutFolder,
    min_magnitude: Annotated[float, typer.Option(help="Smaller earthquakes are left out.")] = 6.5,
    run: Annotated[bool, typer.Option("--run", help="Map what is ready, each in a folder of its own.")] = False,
    pga_g: Pga = 0.10,
    largest_km2: LargestArea = 10_000.0,
    days_before: DaysBefore = 90,
    days_after: DaysAfter = 30,
    min_clear: MinClear = 0.7,
    service: Service = None,
    services: ServiceFile = None,
    as_json: AsJson = False,
) -> None:
    """Look once for new earthquakes over land: what can be mapped today, and when the next scene is due."""
    from coslide.pipeline.watch import watch_earthquakes

    area = {"pga_g": pga_g, "largest_km2": largest_km2}
    options = _options(**area, days_before=days_before, days_after=days_after, min_clear=min_clear)
    with shown():
        seen = watch_earthquakes(
            out, options, _services(services, service), min_magnitude=min_magnitude, run_ready=run
        )
    print_watch(seen, as_json=as_json)


def _options(**given: Any) -> "FetchOptions":
    from pydantic import ValidationError

    from coslide.config.fetching import FetchOptions
    from coslide.config.records import first_problem

    try:
        return FetchOptions(**given)
    except ValidationError as error:
        raise InputError(f"--{first_problem(error).replace('bounds_deg', 'bounds').replace('_', '-')}") from None


def _services(file: Path | None, pairs: Sequence[str] | None) -> "Services":
    from coslide.config.services import read_services

    given = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--service: found {pair!r}, expected NAME=VALUE, such as stac_url=https://example.org/v1")
        given[name.strip()] = value.strip()
    return read_services(file, given)
