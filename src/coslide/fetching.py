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

ServiceFile = Annotated[Path | None, typer.Option("--services", metavar="FILE", help="TOML with settings of services.")]
Service = Annotated[
    list[str] | None,
    typer.Option(
        "--service", metavar="NAME=VALUE", help="Setting of a service, as in stac_url=https://...; may be repeated."
    ),
]


def fetch(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the earthquake in ComCat, as us2000h8ty.")],
    out: OutFolder,
    bounds_deg: Annotated[tuple[float, float, float, float] | None, typer.Option("--bounds", metavar="W S E N")] = None,
    pga_g: float | None = None,
    largest_km2: float | None = None,
    days_before: int | None = None,
    days_after: int | None = None,
    min_clear: float | None = None,
    faults: Path | None = None,
    service: Service = None,
    services: ServiceFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be fetched, dates and sizes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch all that a map of an earthquake needs, and write its event file; goes on where an earlier fetch stopped."""
    options, asked = _options(locals()), _services(services, service)
    from coslide.pipeline.fetch import fetch_event, plan_event

    with shown():
        plan = plan_event(event_id, options, asked) if dry_run else fetch_event(event_id, out, options, asked)
    print_fetch_plan(plan, as_json=as_json)


def watch(
    out: OutFolder,
    min_magnitude: Annotated[float, typer.Option(help="Smaller earthquakes are left out.")] = 6.5,
    run: Annotated[bool, typer.Option("--run", help="Map what is ready, each in a folder of its own.")] = False,
    pga_g: float | None = None,
    largest_km2: float | None = None,
    days_before: int | None = None,
    days_after: int | None = None,
    min_clear: float | None = None,
    service: Service = None,
    services: ServiceFile = None,
    as_json: AsJson = False,
) -> None:
    """Look once for new earthquakes over land: what can be mapped today, and when the next scene is due."""
    options, asked = _options(locals()), _services(services, service)
    from coslide.pipeline.watch import watch_earthquakes

    with shown():
        seen = watch_earthquakes(out, options, asked, min_magnitude=min_magnitude, run_ready=run)
    print_watch(seen, as_json=as_json)


def _options(given: dict[str, Any]) -> "FetchOptions":
    """Check the options of a command; what is None stays as the record has it."""
    from pydantic import ValidationError

    from coslide.config.fetching import FetchOptions
    from coslide.config.records import first_problem

    own = {name: given[name] for name in FetchOptions.model_fields if given.get(name) is not None}
    try:
        return FetchOptions(**own)
    except ValidationError as error:
        problem = first_problem(error)
        key = "bounds_deg" if problem.startswith("found") else problem.partition(":")[0]
        told = problem.removeprefix(f"{key}: ")
        raise InputError(f"--{key.removesuffix('_deg').replace('_', '-')}: {told}") from None


def _services(file: Path | None, pairs: Sequence[str] | None) -> "Services":
    from coslide.config.services import read_services

    given = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            expected = "expected NAME=VALUE, such as stac_url=https://example.org/v1"
            raise InputError(f"--service: found {pair!r}, {expected}")
        given[name.strip()] = value.strip()
    return read_services(file, given)
