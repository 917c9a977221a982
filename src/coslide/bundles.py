"""The command line of models: those that come with coslide, and the form that other programs run."""

import logging
from typing import Annotated

import typer

from coslide.errors import InputError
from coslide.options import AsJson, Model
from coslide.tables import print_model, print_models
from coslide.terminal import shown

_log = logging.getLogger(__name__)


def models_(
    name: Annotated[str | None, typer.Argument(help="Print the card of this one.")] = None, as_json: AsJson = False
) -> None:
    """List the models that come with coslide, or print the card of one: data, recipe, scores, limits, licence."""
    from coslide.pipeline.shipped import shipped_model, shipped_models

    if name is None:
        return print_models(shipped_models(), as_json=as_json)
    return print_model(shipped_model(name), as_json=as_json)


def export(
    model: Model, onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, the one form there is.")] = False
) -> None:
    """Write a model as ONNX, which other programs run, into its bundle, and check that the probabilities agree."""
    from coslide.mapping.export import export_onnx
    from coslide.mapping.model import find_model
    from coslide.pipeline.shipped import require_own_folder

    if not onnx:
        raise InputError("no form to write is named; expected --onnx")
    folder = find_model(model)
    require_own_folder(folder)
    with shown():
        paths, apart = export_onnx(folder)
        _log.info(f"{', '.join(map(str, paths))}: probabilities differ from the network's by at most {apart:.1g}")
