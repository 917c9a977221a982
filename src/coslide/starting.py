"""The command line of a beginning: a simulated earthquake, an event file for files that are there, the installation."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import coslide
from coslide.errors import InputError
from coslide.options import AsJson, OutFolder
from coslide.tables import print_checks, print_sources
from coslide.terminal import ask_which, shown


def demo(
    out: OutFolder = Path("runs/demo"),
    size_km: Annotated[float, typer.Option(help="Side of the square that is simulated.")] = 7.2,
    seed: Annotated[int, typer.Option(help="Another seed is another place and another earthquake.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, max=10**9, help="Steps of the training.")] = None,
) -> None:
    """Simulate a small earthquake and run the whole pipeline on it; goes on where an earlier demo stopped."""
    with shown(quiet="coslide.pipeline.build"):
        event = coslide.simulate_event(out / "event", _recipe(size_km=size_km, seed=seed), keep=True)
        settings = coslide.read_event(event).training.changed({"optimiser.steps": steps})
        coslide.run(event, out, settings=settings, resume=True)


def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write the event to.")],
    size_km: Annotated[float, typer.Option(help="Side of the square that the scenes cover.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Another seed is another place and another earthquake.")] = 0,
    difficulty: Annotated[str, typer.Option(help="How hard landslides are to find: easy, paper or hard.")] = "paper",
    relief_m: Annotated[float | None, typer.Option(help="Height of the highest summit above the valleys.")] = None,
    drainage_per_km: Annotated[float | None, typer.Option(help="Length of streams per area, in km per km2.")] = None,
    landslide_share: Annotated[float | None, typer.Option(help="Share of the area that slides.")] = None,
) -> None:
    """Write a simulated earthquake, whose landslides are all mapped, in the formats that real ones come in."""
    recipe = _recipe(**{name: value for name, value in locals().items() if name != "folder"})
    with shown():
        coslide.simulate_event(folder, recipe)


def _recipe(**given: Any) -> Any:
    """Check the recipe of a simulation; what is None stays as `Recipe` has it."""
    from pydantic import ValidationError

    from coslide.config.records import first_problem
    from coslide.simulate.recipe import Recipe

    try:
        return Recipe(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InputError(f"--{first_problem(error).replace('_', '-')}") from None


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of files: scenes, elevation model, and what else there is.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Event file to write; FOLDER/event.toml if missing.")
    ] = None,
) -> None:
    """Write an event file from a folder of files, and tell what each was taken for."""
    from coslide.pipeline.init import init_event

    ask = {"ask": ask_which} if sys.stdin.isatty() and sys.stderr.isatty() else {}
    with shown():
        written = init_event(folder, out, **ask)
    print_sources(written.lines)


def doctor(as_json: AsJson = False) -> None:
    """Check this installation: what was found, and what to do where something is broken or could be better."""
    from coslide.pipeline.doctor import check_installation

    with shown():
        checks = check_installation()
    print_checks(checks, as_json=as_json)
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)
