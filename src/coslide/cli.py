"""The command line. Heavy libraries are imported inside the commands, so that help is quick."""

import logging
from pathlib import Path
from typing import Annotated

import typer

import coslide
from coslide.bundles import export, models_
from coslide.errors import InputError
from coslide.fetching import fetch, watch
from coslide.io.executor import open_executor
from coslide.next_steps import START
from coslide.options import (
    AsJson,
    Commands,
    Debug,
    EventFile,
    FetchCommand,
    IndexCube,
    Layers,
    LogFile,
    Model,
    ModelAndIndex,
    OutFolder,
    Quiet,
    Resume,
    Scheduler,
    Set,
    TextEncoding,
    TrainingCommand,
    Verbose,
    WorkerCount,
    given_settings,
    model_and_index,
    vector_file_of,
)
from coslide.starting import demo, doctor, init, simulate
from coslide.studies import study
from coslide.tables import print_assessment, print_contents, print_networks, print_scores
from coslide.terminal import run_to_its_end, shown

app = typer.Typer(cls=Commands, invoke_without_command=True, pretty_exceptions_enable=False)
app.add_typer(study, name="study")
_log = logging.getLogger(__name__)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coslide {coslide.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log: LogFile = None,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Coseismic landslide maps and inventories: from an event file to polygons, with scores you can defend."""
    if context.invoked_subcommand is None:
        typer.echo(START, nl=False)


for _start in (demo, init, doctor, simulate):
    app.command()(_start)
for _fetching in (fetch, watch):
    app.command(cls=FetchCommand)(_fetching)


@app.command(cls=TrainingCommand)
def run(
    event: Annotated[
        Path, typer.Argument(help="Event file (TOML), or the id of an earthquake in ComCat: its inputs are fetched.")
    ],
    out: OutFolder,
    model: Annotated[
        Path | None,
        typer.Option(help="Map with this model (or name); without an inventory, coslide takes one of its own."),
    ] = None,
    recipe: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    set_: Set = None,
    resume: Resume = False,
) -> None:
    """Build, train (where there is an inventory and no model is given), map, evaluate and draw."""
    from coslide.acquisition.comcat import is_event_id

    given = given_settings(locals())
    read = None if is_event_id(str(event)) and not event.exists() else coslide.read_event(event)
    idle = [name for name, value in given.items() if value is not None]
    if idle and model is None and (read is None or read.inventory is None):
        raise InputError(f"{event}: has no [inventory] to train on; add one, or leave out {', '.join(idle)}")
    settings = read.training.changed(given) if read else None
    with shown():
        coslide.run(event, out, model=model, settings=settings, resume=resume)


@app.command()
def build(
    event: EventFile,
    out: Annotated[Path, typer.Option("--out", help="Zarr folder to write.")],
    scheduler: Scheduler = None,
    workers: WorkerCount = None,
) -> None:
    """Build the index cube of an event, or only what has changed of it; goes on where an earlier build stopped."""
    checked = coslide.read_event(event)
    with shown(), open_executor(scheduler=scheduler, count=workers) as executor:
        coslide.build_cube(checked, out, executor=executor)
        _log.info(f"{out}: {coslide.open_cube(out).summary}")


@app.command("cube")
def cube_(
    index: IndexCube,
    out: Annotated[Path | None, typer.Option("--out", help="Picture to write; INDEX with .png if missing.")] = None,
    cogs: Annotated[Path | None, typer.Option(help="Also write every band as GeoTIFF (COG) into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what is in a cube, with units, valid share, range and source, and draw all of it on one sheet."""
    from coslide.cube.export import write_cogs
    from coslide.report.contact_sheet import contact_sheet

    opened = coslide.open_cube(index)
    print_contents(opened.contents(), opened.title, as_json=as_json)
    with shown():
        _log.info(f"picture: {contact_sheet(opened, out or index.with_suffix('.png'))}")
        if cogs is not None:
            _log.info(f"{len(opened.bands)} GeoTIFF files and item.json: {write_cogs(opened, cogs)}")


@app.command(cls=TrainingCommand)
def train(
    index: Annotated[
        list[Path], typer.Argument(help="Index cubes, or chips (chips.toml; #EVENT after it takes one event).")
    ],
    out: OutFolder,
    test_on: Annotated[
        list[Path] | None, typer.Option(help="Cube or chips of an event to hold out as a whole.")
    ] = None,
    network: str | None = None,
    recipe: str | None = None,
    split: str | None = None,
    regions: Path | None = None,
    validation_fraction: float | None = None,
    guard_px: int | None = None,
    sampling: str | None = None,
    tile: int | None = None,
    stride: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    width: int | None = None,
    seed: int | None = None,
    members: int | None = None,
    precision: str | None = None,
    devices: int | None = None,
    set_: Set = None,
    baselines: Annotated[bool, typer.Option(help="Also score a random forest and a change threshold.")] = True,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train a network and score it on held-out pixels. What is not given is as the (first) event file has it."""
    split = split or ("events" if test_on else "regions" if regions else None)
    given = given_settings(locals())
    from coslide.pipeline.train import cube_settings

    settings = cube_settings(index[0]).changed(given)
    with shown():
        metrics = coslide.train(index, out, settings, test_on=test_on or (), compare=baselines, resume=resume)
    print_scores(metrics, as_json=as_json)


@app.command("map")
def map_(
    place: ModelAndIndex,
    out: OutFolder,
    window: Annotated[int | None, typer.Option(help="Side of a window; by default the tile of the training.")] = None,
    stride: Annotated[int | None, typer.Option(help="Step between blended windows; by default 3/4 of one.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=10**6, help="Windows given to the network at once.")] = 8,
    tta: Annotated[
        bool | None, typer.Option(help="Average eight orientations of each window; by default as the model was scored.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Run the ONNX form of the model (coslide export).")] = False,
    precision: Annotated[str, typer.Option(help="32, bf16, or auto: bf16 if a timed trial is faster.")] = "auto",
    threshold: Annotated[
        str | None, typer.Option(help="validation, or scene (from the map alone); by default as the model was scored.")
    ] = None,
    min_area_m2: Annotated[float, typer.Option(min=0, help="Leave smaller landslides out of the inventory.")] = 0.0,
    scheduler: Scheduler = None,
    workers: WorkerCount = None,
    resume: Resume = False,
) -> None:
    """Map a scene with a trained model, or the one of coslide's own that fits best: probabilities and polygons."""
    from coslide.pipeline.predict import open_to_map
    from coslide.pipeline.scene_predictor import InferenceOptions

    model, index = model_and_index(place)
    options = InferenceOptions(
        window, stride, batch=batch, tta=tta, onnx=onnx, precision=precision, threshold=threshold
    )
    if scheduler is not None or workers is not None:  # a cluster takes seconds to start
        open_to_map(model, index, out, options=options, min_area_m2=min_area_m2)
    with shown(), open_executor(scheduler=scheduler, count=workers) as pool:
        coslide.predict_scene(model, index, out, options=options, min_area_m2=min_area_m2, executor=pool, resume=resume)


@app.command()
def adapt(
    model: Model,
    index: IndexCube,
    labels: Annotated[Path, typer.Option(help="Landslides of the labelled area (polygons).")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the adapted model.")],
    labels_layer: Layers = None,
    labels_encoding: TextEncoding = None,
    area: Annotated[
        Path | None, typer.Option(help="Labelled area (polygons); the labels' own file if missing.")
    ] = None,
    area_layer: Layers = None,
    area_encoding: TextEncoding = None,
    indices: Annotated[
        list[str] | None, typer.Option(help="Index of the cube to feed it besides, such as slope; may be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(min=0, max=10**6, help="Steps of the training.")] = 900,
    resume: Resume = False,
) -> None:
    """Adapt a trained model to a new event, of which a few tiles are labelled."""
    if area is None and not area_layer:
        raise InputError(
            "--area: missing, expected polygons of the labelled area (or --area-layer, a layer of --labels)"
        )
    places = {
        "labels": vector_file_of("labels", labels, labels_layer, labels_encoding),
        "area": vector_file_of("area", area or labels, area_layer, area_encoding),
    }
    with shown():
        coslide.adapt(model, index, out=out, indices=indices or (), steps=steps, resume=resume, **places)


app.command()(export)
app.command("models")(models_)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of a map (coslide map writes one).")],
    inventory: Annotated[Path, typer.Option(help="Mapped landslides (polygons).")],
    inventory_layer: Layers = None,
    inventory_encoding: TextEncoding = None,
    area: Annotated[Path | None, typer.Option(help="Where they were mapped (polygons); everywhere if missing.")] = None,
    area_layer: Layers = None,
    area_encoding: TextEncoding = None,
    grid: Annotated[Path | None, typer.Option(help="Index cube whose valid pixels to score.")] = None,
    regions: Annotated[Path | None, typer.Option(help="Polygons to score one by one.")] = None,
    regions_layer: Layers = None,
    regions_encoding: TextEncoding = None,
    classes: Annotated[Path | None, typer.Option(help="Raster of classes of environment to score one by one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a map against an inventory, on pixels that training did not see."""
    source = vector_file_of("inventory", inventory, inventory_layer, inventory_encoding)
    places = {
        "area": vector_file_of("area", area, area_layer, area_encoding),
        "regions": vector_file_of("regions", regions, regions_layer, regions_encoding),
    }
    with shown():
        metrics = coslide.evaluate(folder, source, grid=grid, classes=classes, **places)
    print_scores(metrics, as_json=as_json)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Folder of a map (coslide map writes one).")],
    n: Annotated[int, typer.Option("--n", help="Places to label, 40 to 2000.")] = 200,
    seed: Annotated[int, typer.Option(help="Another seed draws other places.")] = 0,
    index: Annotated[Path | None, typer.Option(help="Cube that was mapped; FOLDER/index.zarr if missing.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder to write to; FOLDER/sample if missing.")] = None,
) -> None:
    """Draw a random sample of a map, with pictures and a page, for people to label where there is no inventory."""
    with shown():
        coslide.sample(folder, n=n, seed=seed, index=index, out=out)


@app.command()
def assess(
    folder: Annotated[Path, typer.Argument(help="Folder of the map that was sampled.")],
    labels: Annotated[Path, typer.Option(help="sample.gpkg with labels, or labels.csv of the page.")],
    sample: Annotated[Path | None, typer.Option(help="Folder of the sample; FOLDER/sample if missing.")] = None,
    other: Annotated[Path | None, typer.Option(help="Folder of another map, to compare on the same labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate landslide area and accuracies of a map, with 95 % intervals, from the labels of its sample."""
    with shown():
        found = coslide.assess(folder, labels, sample=sample, other=other)
    print_assessment(found, as_json=as_json)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a run (coslide run writes one).")]) -> None:
    """Write report.html: one page with scenes, map, scores and how they came about."""
    with shown():
        coslide.write_report(folder)


@app.command("networks")
def networks_(
    bands: Annotated[int, typer.Option(min=1, max=10_000, help="Bands of the input, where no cube is given.")] = 30,
    cube: Annotated[Path | None, typer.Option(help="Index cube to take the bands from.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks with their parameters and multiply-adds."""
    from coslide.networks.cost import table

    inputs = None if cube is None else coslide.open_cube(cube).inputs
    print_networks(table(bands, inputs=inputs), bands if inputs is None else len(inputs), as_json=as_json)


def main() -> None:
    """Run the command line, and end with the exit code of what happened."""
    run_to_its_end(app)


if __name__ == "__main__":
    main()
