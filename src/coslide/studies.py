"""The command line of studies: many trainings, one table."""

from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import coslide
from coslide.config.factors import FACTORS
from coslide.io.executor import open_executor
from coslide.options import (
    AsJson,
    Commands,
    IndexCube,
    OutFolder,
    Scheduler,
    Set,
    TrainingCommand,
    WorkerCount,
    given_settings,
    vector_file_of,
)
from coslide.tables import print_plan, print_runs, print_study
from coslide.terminal import print_line, shown


class _Studies(Commands):
    """The studies by name: that over events, those of the paper, and any TOML file."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names of the studies."""
        return ["transfer", *FACTORS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find the command of a study; a factor's has its title."""
        if cmd_name not in FACTORS and Path(cmd_name).suffix.lower() != ".toml":
            return super().get_command(ctx, cmd_name)
        command = copy(super().get_command(ctx, "factor"))
        if command is not None and cmd_name in FACTORS:
            command.hidden, command.name, known = False, cmd_name, FACTORS[cmd_name]
            command.help = f"Compare {known.title} ({known.table} of the paper) on one event."
        return command


study = typer.Typer(
    no_args_is_help=True,
    cls=_Studies,
    help="Carry out a study: many trainings, one table. A TOML file in place of a name varies what it says "
    "(docs/studies.md).",
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="List the trainings and what there is of each.")]
GoOn = Annotated[bool, typer.Option("--resume", help="Go on; only what is missing or differs is trained.")]


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
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    dry_run: DryRun = False,
    resume: GoOn = False,
    as_json: AsJson = False,
) -> None:
    """Hold out each event once, train on the others, and score network and baselines on the one that is unseen."""
    from coslide.pipeline.study import state_of
    from coslide.pipeline.train import cube_settings
    from coslide.pipeline.transfer import plan_transfer

    settings = cube_settings(events[0]).changed({"split.scheme": "events", **given_settings(locals())})
    if dry_run:
        with shown():
            planned = plan_transfer(events, settings, always=always or (), seeds=seeds)
        return print_runs([(run, state_of(run, out)[0]) for run in planned], as_json=as_json)
    with shown(), open_executor(scheduler=scheduler, count=workers) as executor:
        options: dict[str, Any] = {"always": always or (), "seeds": seeds, "executor": executor, "resume": resume}
        found = coslide.study_transfer(events, out, settings, **options)
    return print_study(found, as_json=as_json)


@study.command(cls=TrainingCommand, hidden=True)
def factor(
    context: typer.Context,
    index: IndexCube,
    out: OutFolder,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each case.")] = 5,
    protocol: Annotated[
        Literal["blocks", "paper"],
        typer.Option(help="paper: also train by the paper's protocol, and show how much of its scores is leak."),
    ] = "blocks",
    settings: Annotated[
        Literal["equal", "original"],
        typer.Option(help="original: also train each network with optimiser and loss of its own paper."),
    ] = "equal",
    drawn: Annotated[
        Path | None,
        typer.Option("--regions", help="Polygons to draw all maps of; else three squares are chosen."),
    ] = None,
    drawn_layer: Annotated[
        list[str] | None, typer.Option("--regions-layer", help="Layer of that file; may be repeated.")
    ] = None,
    drawn_encoding: Annotated[
        str | None, typer.Option("--regions-encoding", help="Encoding of its text; else what the file states.")
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of another study, whose runs that are the same are copied; may be repeated."),
    ] = None,
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
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop at the plan: trainings, hours from timed steps, disk.")
    ] = False,
    resume: GoOn = False,
    as_json: AsJson = False,
) -> None:
    """Train each case of a factor with several seeds on one event, and compare their scores."""
    from coslide.pipeline.factor import StudyDesign, factor_of, plan_factor
    from coslide.pipeline.study import require_unused
    from coslide.pipeline.study_cost import plan_of
    from coslide.pipeline.train import cube_settings

    given = cube_settings(index).changed(given_settings(locals()))
    own = factor_of(str(context.info_name))
    if not dry_run:
        require_unused(out, own.name, resume=resume)
    polygons = vector_file_of("regions", drawn, drawn_layer, drawn_encoding)
    design = StudyDesign(given, seeds, protocol, settings == "original")
    with shown("coslide.pipeline.labelled_scene"):  # which tells the split of each case and seed
        planned = plan_of(plan_factor(own, index, design), out, index, reuse=reuse or ())
        if not dry_run:
            print_line(planned.line())
            with open_executor(scheduler=scheduler, count=workers) as executor:
                options = {"design": design, "regions": polygons, "reuse": reuse or (), "resume": resume}
                found = coslide.study_factor(own, index, out, executor=executor, **options)
    if dry_run:
        return print_plan(planned, as_json=as_json)
    return print_study(found, as_json=as_json)
