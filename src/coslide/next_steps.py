"""What a command made, and the command that comes next: one table for all commands."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coslide.terminal import print_line

START = """\
coslide maps the landslides of an earthquake. Where to start:

  coslide demo                     try it on a small simulated earthquake, in minutes, without any data
  coslide run ID --out DIR         you have the id of an earthquake (us2000h8ty): fetches its inputs and maps it
  coslide init FOLDER              you have files: a scene after the earthquake, a DEM, maybe more; writes event.toml
  coslide run event.toml --out DIR you have an event file: everything from it to report.html
  coslide doctor                   check this installation
  coslide --help                   all commands; coslide COMMAND --help: the options of one
"""


class Step(NamedTuple):
    """What is told at the end of a command. In braces: its parameters, and what `_places` adds.

    Attributes
    ----------
    made
        Files that it may have made; those that are there are told.
    then
        What comes next.
    needs
        A file or folder that must be there; empty for none. Of the steps of a command, the first that fits is told.
    """

    made: tuple[str, ...]
    then: str
    needs: str = ""


_SHEET, _MODEL = ("{picture}", "{cogs}/item.json"), ("{out}/model", "{out}/metrics.json")
_MAP = ("{out}/probability.tif", "{out}/landslides.gpkg", "{out}/landslides.parquet")

STEPS: dict[str, tuple[Step, ...]] = {
    "demo": (Step(("{out}/report.html",), "open it in a browser; with files of your own: coslide init FOLDER"),),
    "simulate": (Step(("{folder}/event.toml",), "coslide run {folder}/event.toml --out {run}"),),
    "init": (Step(("{event_file}",), "look through it, then: coslide run {event_file} --out {run}"),),
    "fetch": (Step(("{out}/event.toml",), "look through it, then: coslide run {out}/event.toml --out {out_stem}-run"),),
    "watch": (Step(("{out}/watch.json",), "coslide run ID --out DIR for one that is ready; --run maps all of them"),),
    "run": (Step((*_MAP[:2], "{out}/report.html"), "open it in a browser; how good is the map? coslide sample {out}"),),
    "build": (
        Step(("{out}",), "coslide train {out} --out {out_stem}-run", needs="{out}/landslide"),
        Step(("{out}",), "coslide map {out} --out {out_stem}-map", needs="{out}/valid"),
    ),
    "cube": (
        Step(_SHEET, "coslide train {index} --out {index_stem}-run", needs="{index}/landslide"),
        Step(_SHEET, "coslide map {index} --out {index_stem}-map"),
    ),
    "train": (
        Step(_MODEL, "coslide map {out}/model {index} --out {out}", needs="{index}/valid"),
        Step(_MODEL, "coslide map {out}/model INDEX.zarr --out DIR"),
    ),
    "map": (Step(_MAP, "how good is it? coslide sample {out} --index {index}"),),
    "adapt": (Step(("{out}",), "coslide map {out} {index} --out {out}-map"),),
    "evaluate": (Step(("{folder}/metrics.json", "{folder}/metrics.md"), "coslide report {folder}"),),
    "report": (Step(("{folder}/report.html",), "open it in a browser; how good is the map? coslide sample {folder}"),),
    "sample": (
        Step(
            ("{sample}/label.html", "{sample}/sample.gpkg"),
            "label its places on the page or in QGIS, then: coslide assess {folder} --labels {sample}/sample.gpkg",
        ),
    ),
    "assess": (Step(("{folder}/assessment.json",), "coslide report {folder}"),),
    "export": (Step(("{model}/model.onnx",), "coslide map {model} INDEX.zarr --onnx --out DIR"),),
    "models": (Step((), "coslide map NAME INDEX.zarr --out DIR; its card: coslide models NAME"),),
    "networks": (Step((), "coslide train INDEX.zarr --network NAME --out DIR"),),
    "doctor": (Step((), "coslide demo"),),
    "study": (Step(("{out}/study.md", "{out}/study.json"), "read study.md; more seeds: the same with --resume"),),
}  # fmt: skip


def tell_what_comes_next(command: str, given: Mapping[str, Any]) -> None:
    """Tell what a command made and what comes next; nothing of one whose results are JSON alone.

    Parameters
    ----------
    command
        Its name, with that of its group.
    given
        Its parameters.
    """
    places = _places(given)
    for step in STEPS.get(command.split(maxsplit=1)[0], ()):
        if step.needs and not _path(step.needs, places).exists():
            continue
        made = [path for path in (_path(one, places) for one in step.made) if path.exists()]
        if (step.made and not made) or (not step.made and given.get("as_json")):
            return
        if made:
            print_line(f"made: {', '.join(map(str, made))}", style="green")
        quoted = {key: shlex.quote(text) for key, text in places.items()}
        print_line(f"next: {step.then.format_map(_Quoted(quoted))}", style="green")
        return


def _places(given: Mapping[str, Any]) -> dict[str, str]:
    """Name the files and folders that a command was given, and those that it chose itself."""
    places = {key: str(value) for key, value in given.items() if isinstance(value, str | Path)}
    several = given.get("index") or given.get("place")
    if isinstance(several, list | tuple) and several:
        places["index"] = str(several[0] if given.get("index") else several[-1])
    folder = Path(places.get("folder", ""))
    places |= {f"{key}_stem": str(Path(places[key]).with_suffix("")) for key in ("out", "index") if key in places}
    beside = places.get("out_stem") or (str(folder) if folder.name else "")  # of the working folder itself: in it
    places["run"] = f"{beside}-run" if beside else "run"
    places["sample"] = places.get("out", str(folder / "sample"))
    places["event_file"] = places.get("out", str(folder / "event.toml"))
    places["picture"] = places.get("out", f"{places.get('index_stem', '')}.png")
    return places


def _path(template: str, places: Mapping[str, str]) -> Path:
    return Path(template.format_map(_Quoted(places)))


class _Quoted(dict[str, str]):
    """Places; one that was not given stays a word to fill in."""

    def __missing__(self, key: str) -> str:
        return key.upper()
