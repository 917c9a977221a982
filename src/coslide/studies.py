"""The command line of studies: many trainings, one table."""

from pathlib import Path
from typing import Annotated

import typer

import coslide
from coslide.options import AsJson, OutFolder, Set, TrainingCommand, given_settings
from coslide.terminal import print_runs, print_study, shown

study = typer.Typer(no_args_is_help=True, help="Carry out a study: many trainings, one table.")


@study.callback()
def _studies() -> None:
    """Carry out a study: many trainings, one table."""


@study.command(cls=TrainingCommand)
def transfer(
    events: Annotated[
        list[Path], typer.Argument(help="Index cubes, and chips (chips.toml; #EVENT after it takes one event).")
    ],
    out: OutFolder,
    always: Annotated[
        list[Path] | None, typer.Option(help="Event that always trains and is never unseen; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings for each unseen event.")] = 1,
    network: str | None = None,
    recipe: str | None = None,
    validation_fraction: float | None = None,
    tile: int | None = None,
    stride: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    width: int | None = None,
    seed: int | None = None,
    members: int | None = None,
    set_: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trainings and what there is of each.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on; only what is missing or differs is trained.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold out each event once, train on the others, and score network and baselines on the one that is unseen."""
    from coslide.pipeline.study import plan_transfer, state_of
    from coslide.pipeline.train import cube_settings

    settings = cube_settings(events[0]).changed({"split.scheme": "events", **given_settings(locals())})
    with shown():
        if dry_run:
            planned = plan_transfer(events, settings, always=always or (), seeds=seeds)
            return print_runs([(run, state_of(run, out)) for run in planned], as_json=as_json)
        found = coslide.study_transfer(events, out, settings, always=always or (), seeds=seeds, resume=resume)
    return print_study(found, as_json=as_json)
