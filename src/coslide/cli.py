"""The command line. Heavy libraries are imported inside the commands, so that help is quick."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

import coslide
from coslide.errors import InputError
from coslide.memory import keep_freed_memory
from coslide.terminal import error_console, print_contents, print_networks, print_scores, shown

if TYPE_CHECKING:
    from coslide.simulate.recipe import Recipe

INPUT_ERROR = 2

app = typer.Typer(
    help="Coseismic landslide maps and inventories: from an event file to polygons, with scores you can defend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_log = logging.getLogger(__name__)

OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)]
IndexCube = Annotated[Path, typer.Argument(help="Index cube (coslide build writes one).", show_default=False)]
EventFile = Annotated[Path, typer.Argument(help="Event file (TOML).", show_default=False)]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="paper or modern.")]
Epochs = Annotated[int | None, typer.Option("--epochs")]
Steps = Annotated[int | None, typer.Option("--steps")]
Seed = Annotated[int | None, typer.Option("--seed")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as loss.gamma=1.", show_default=False),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a dask scheduler whose workers compute (tcp://...).", show_default=False)
]
WorkerCount = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes that compute; threads if missing.", show_default=False)
]
_SETTINGS = {
    "network": "network",
    "recipe": "recipe",
    "split": "split.scheme",
    "regions": "split.regions",
    "validation_fraction": "split.validation_fraction",
    "guard_px": "split.guard_px",
    "sampling": "sampling.select",
    "tile": "sampling.tile",
    "stride": "sampling.stride",
    "epochs": "optimiser.epochs",
    "steps": "optimiser.steps",
    "width": "width",
    "seed": "seed",
    "members": "members",
    "precision": "runtime.precision",
    "devices": "runtime.devices",
}
"""The settings of a training that have an option of their own."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coslide {coslide.__version__}")
        raise typer.Exit


class _Training(TyperCommand):
    """A command that trains: settings describe its options, and all of them are listed."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the settings' own descriptions."""
        from coslide.config.training import describe_setting, setting_names

        for option in self.params:
            if option.name in _SETTINGS and isinstance(option, TyperOption):
                option.help = describe_setting(_SETTINGS[option.name])
        others = [f"{name}: {describe_setting(name)}" for name in setting_names() if name not in _SETTINGS.values()]
        self.epilog = "\n\n".join(["Settings for --set:", *others])
        super().format_help(ctx, formatter)


def _given_settings(pairs: Sequence[str] | None, **options: Any) -> dict[str, Any]:
    """Name the settings that options and --set give, by their dotted names."""
    import tomllib

    given = {_SETTINGS[name]: value for name, value in options.items()}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set: found {pair!r}, expected NAME=VALUE, such as loss.gamma=1")
        try:
            given[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            given[name.strip()] = text.strip()  # a word needs no quotes
    return given


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@app.command(cls=_Training)
def run(
    event: EventFile,
    out: OutFolder,
    model: Annotated[Path | None, typer.Option(help="Map with this model instead of training one.")] = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    steps: Steps = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = False,
) -> None:
    """Build, train (unless a model is given), map, evaluate and draw."""
    from coslide.config.event import read_event
    from coslide.pipeline.run import run as run_chain

    settings = read_event(event).training.changed(
        _given_settings(set_, recipe=recipe, epochs=epochs, steps=steps, seed=seed)
    )
    with shown():
        run_chain(event, out, model=model, settings=settings, resume=resume)


@app.command()
def demo(
    out: OutFolder = Path("runs/demo"),
    size_km: Annotated[float, typer.Option(help="Side of the square that is simulated.")] = 7.2,
    seed: Annotated[int, typer.Option(help="Another seed is another place and another earthquake.")] = 0,
    steps: Steps = None,
) -> None:
    """Simulate a small earthquake and run the whole chain on it; goes on where an earlier demo stopped."""
    from coslide.config.event import read_event
    from coslide.pipeline.run import run as run_chain
    from coslide.simulate.write import simulate_event as write_event

    with shown(quiet=["coslide.pipeline.build"]):
        event = write_event(out / "event", _recipe(size_km=size_km, seed=seed), keep=True)
        settings = read_event(event).training.changed({"optimiser.steps": steps})
        run_chain(event, out, settings=settings, resume=True)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write the event to.", show_default=False)],
    size_km: Annotated[float, typer.Option(help="Side of the square that the scenes cover.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Another seed is another place and another earthquake.")] = 0,
    difficulty: Annotated[
        str, typer.Option(help="How hard the landslides are to find: easy, paper or hard.")
    ] = "paper",
    relief_m: Annotated[
        float | None, typer.Option(help="Height of the highest summit above the lowest valley.", show_default=False)
    ] = None,
    drainage_per_km: Annotated[
        float | None, typer.Option(help="Length of streams per area, in km per km2.", show_default=False)
    ] = None,
    landslide_share: Annotated[
        float | None, typer.Option(help="Share of the ground that slides.", show_default=False)
    ] = None,
) -> None:
    """Write a simulated earthquake, with known truth, in the formats that real ones come in."""
    from coslide.simulate.write import simulate_event as write_event

    given = {"relief_m": relief_m, "drainage_per_km": drainage_per_km, "landslide_share": landslide_share}
    recipe = _recipe(size_km=size_km, seed=seed, difficulty=difficulty, **given)
    with shown():
        event = write_event(folder, recipe)
        _log.info(f"next: coslide run {event} --out RUN")


def _recipe(**given: Any) -> "Recipe":
    """Return the recipe of a simulation; what is None stays as `Recipe` has it."""
    from pydantic import ValidationError

    from coslide.config.training import first_problem
    from coslide.simulate.recipe import Recipe

    try:
        return Recipe(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InputError(f"--{first_problem(error).replace('_', '-')}") from None


@app.command()
def build(
    event: EventFile,
    out: Annotated[Path, typer.Option("--out", help="Zarr folder to write.", show_default=False)],
    scheduler: Scheduler = None,
    workers: WorkerCount = None,
) -> None:
    """Build the index cube of an event, or only what has changed of it; goes on where an earlier build stopped."""
    from coslide.config.event import read_event
    from coslide.cube.cube import open_cube
    from coslide.io.executor import open_executor
    from coslide.pipeline.build import build_cube

    with shown():
        checked = read_event(event)
        with open_executor(scheduler=scheduler, count=workers) as executor:
            build_cube(checked, out, executor=executor)
        _log.info(f"{out}: {open_cube(out).summary}")


@app.command("cube")
def cube_(
    index: IndexCube,
    out: Annotated[
        Path | None, typer.Option("--out", help="Picture to write; INDEX with .png if missing.", show_default=False)
    ] = None,
    cogs: Annotated[
        Path | None, typer.Option(help="Also write every band as GeoTIFF (COG) into this folder.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what is in a cube, with units, valid share, range and source, and draw all of it on one sheet."""
    from coslide.cube.cube import open_cube
    from coslide.cube.export import write_cogs
    from coslide.report.contact_sheet import contact_sheet

    opened = open_cube(index)
    rows = opened.contents()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_contents(rows, opened.title)
    with shown():
        _log.info(f"picture: {contact_sheet(opened, out or index.with_suffix('.png'))}")
        if cogs is not None:
            _log.info(f"{len(rows)} GeoTIFF files and item.json: {write_cogs(opened, cogs)}")


@app.command(cls=_Training)
def train(
    index: Annotated[
        list[Path],
        typer.Argument(help="Index cubes, or folders of Landslide4Sense chips.", show_default=False),
    ],
    out: OutFolder,
    test_on: Annotated[
        list[Path] | None, typer.Option(help="Cube of an event to hold out as a whole.", show_default=False)
    ] = None,
    network: str | None = None,
    recipe: RecipeName = None,
    split: str | None = None,
    regions: Path | None = None,
    validation_fraction: float | None = None,
    guard_px: int | None = None,
    sampling: str | None = None,
    tile: int | None = None,
    stride: int | None = None,
    epochs: Epochs = None,
    steps: Steps = None,
    width: int | None = None,
    seed: Seed = None,
    members: int | None = None,
    precision: str | None = None,
    devices: int | None = None,
    set_: Set = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Also score a random forest and a change threshold.")
    ] = True,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train a network and score it on held-out pixels. What is not given is as the (first) event file has it."""
    options = {name: value for name, value in locals().items() if name in _SETTINGS}
    from coslide.config.training import TrainingSettings
    from coslide.cube.cube import open_cube
    from coslide.pipeline.train import cube_settings
    from coslide.pipeline.train import train as train_network
    from coslide.sources.landslide4sense import is_chip_folder

    options["split"] = split or ("events" if test_on else "regions" if regions else None)
    of_event = TrainingSettings() if is_chip_folder(index[0]) else cube_settings(open_cube(index[0]))
    settings = of_event.changed(_given_settings(set_, **options))
    with shown():
        metrics = train_network(index, out, settings, test_on=test_on or (), compare=baselines, resume=resume)
    print_scores(metrics, as_json=as_json)


@app.command("map")
def map_(
    model: Annotated[Path, typer.Argument(help="Model bundle (coslide train writes one).", show_default=False)],
    index: IndexCube,
    out: OutFolder,
    window: Annotated[
        int | None,
        typer.Option(help="Side of the windows that the network sees; the tile of its training by default."),
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Step between blended windows; by default 3/4 of one.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows given to the network at once.")] = 8,
    tta: Annotated[
        bool, typer.Option(help="Average the eight orientations of each window, and map how far they lie apart.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Run the ONNX form of the model (coslide export).")] = False,
    precision: Annotated[
        str, typer.Option(help="32, bf16, or auto: bfloat16 where a timed trial shows that it is faster.")
    ] = "auto",
    min_area_m2: Annotated[float, typer.Option(min=0, help="Leave smaller landslides out of the inventory.")] = 0.0,
    scheduler: Scheduler = None,
    workers: WorkerCount = None,
    resume: Resume = False,
) -> None:
    """Map a scene with a trained model: probability map and landslide polygons."""
    from coslide.io.executor import open_executor
    from coslide.pipeline.predict import InferenceOptions, predict_scene

    options = InferenceOptions(window, stride, batch=batch, tta=tta, onnx=onnx, precision=precision)
    with shown(), open_executor(scheduler=scheduler, count=workers) as executor:
        predict_scene(model, index, out, options=options, min_area_m2=min_area_m2, executor=executor, resume=resume)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Model bundle.", show_default=False)],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, the one form there is.")] = False,
) -> None:
    """Write a model in the form that other programs run (ONNX), into its bundle, and check that it says the same."""
    from coslide.mapping.export import export_onnx

    if not onnx:
        raise InputError("no form to write is named; expected --onnx")
    paths, apart = export_onnx(model)
    with shown():
        _log.info(f"{', '.join(map(str, paths))}: probabilities differ from the network's by at most {apart:.1g}")


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of a map (coslide map writes one).", show_default=False)],
    inventory: Annotated[Path, typer.Option(help="Mapped landslides (polygons).", show_default=False)],
    area: Annotated[Path | None, typer.Option(help="Where they were mapped (polygons); everywhere if missing.")] = None,
    grid: Annotated[Path | None, typer.Option(help="Index cube whose valid cells to score.")] = None,
    regions: Annotated[Path | None, typer.Option(help="Polygons to score one by one.", show_default=False)] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Raster of classes of environment to score one by one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a map against an inventory, on ground that training did not see."""
    from coslide.pipeline.evaluate import evaluate as evaluate_map

    metrics = evaluate_map(folder, inventory, area=area, grid=grid, regions=regions, classes=classes)
    print_scores(metrics, as_json=as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run (coslide run writes one).", show_default=False)],
) -> None:
    """Write report.html: one page with scenes, map, scores and how they came about."""
    from coslide.pipeline.report import write_report

    with shown():
        write_report(folder)


@app.command("networks")
def networks_(
    bands: Annotated[int, typer.Option(min=1, help="Bands of the input, where no cube is given.")] = 30,
    cube: Annotated[Path | None, typer.Option(help="Index cube to take the bands from.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks with their parameters and multiply-adds."""
    from coslide.cube.cube import open_cube
    from coslide.networks.cost import table

    inputs = None if cube is None else open_cube(cube).inputs
    rows = table(bands, inputs=inputs)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_networks(rows, bands if inputs is None else len(inputs))


def main() -> None:
    """Return nothing; runs the command line. Wrong input ends with one line and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except InputError as error:
        if "--debug" in sys.argv:
            raise
        error_console.print(f"coslide: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(INPUT_ERROR)


if __name__ == "__main__":
    main()
