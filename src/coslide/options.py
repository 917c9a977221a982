"""What commands have in common: options, and those that are settings of a training."""

from collections.abc import Mapping, Sequence
from copy import copy
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from coslide.config.toml import parse_toml
from coslide.errors import InputError
from coslide.next_steps import tell_what_comes_next
from coslide.terminal import WRONG_USE, log_to, show_debug_messages, show_errors_only

OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
IndexCube = Annotated[Path, typer.Argument(help="Index cube (coslide build writes one).")]
EventFile = Annotated[Path, typer.Argument(help="Event file (TOML).")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting, as in loss.gamma=1.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a dask scheduler whose workers compute (tcp://...).")]
WorkerCount = Annotated[
    int | None, typer.Option("--workers", min=1, max=1024, help="Processes that compute; else threads.")
]
Model = Annotated[Path, typer.Argument(help="Model bundle (coslide train writes one), or a name (coslide models).")]
ModelAndIndex = Annotated[
    list[Path],
    typer.Argument(
        metavar="[MODEL] INDEX",
        help="Model bundle, or a name (coslide models); by default that of coslide's own which fits best. Cube.",
    ),
]
Layers = Annotated[list[str] | None, typer.Option(help="Layer of that file, in one with several; may be repeated.")]
TextEncoding = Annotated[str | None, typer.Option(help="Encoding of its text (GBK); else what the file states.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Quiet = Annotated[bool, typer.Option("--quiet", callback=show_errors_only, help="Tell nothing but errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", callback=show_debug_messages, help="Tell also what helps to find a fault.")
]
LogFile = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", callback=log_to, help="Write all that is told to FILE, too.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_OF_EVERY_COMMAND = ("quiet", "verbose", "log", "debug")


class Commands(TyperGroup):
    """Commands that take the options of coslide itself too, wherever they stand, and end with what comes next."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the first word, and give it those options."""
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except WRONG_USE as error:
            near = get_close_matches(args[0], self.list_commands(ctx))
            if near and "Did you mean" not in error.message:  # typer knows of commands, and not of names of studies
                error.message = f"{error.message.rstrip('.')}. Did you mean {' or '.join(map(repr, near))}?"
            raise
        if command is None:
            return name, command, rest
        shared = [copy(option) for option in ctx.find_root().command.params if option.name in _OF_EVERY_COMMAND]
        for option in shared:
            option.expose_value = False  # its callback keeps it
        command.params = [*command.params, *shared]
        if not isinstance(command, TyperGroup) and command.callback is not None:
            whole, carry_out = f"{ctx.info_name} {name}" if ctx.parent else str(name), command.callback

            @wraps(carry_out)
            def and_tell(*args: Any, **given: Any) -> Any:
                result = carry_out(*args, **given)
                tell_what_comes_next(whole, given)
                return result

            command.callback = and_tell
        return name, command, rest


class TrainingCommand(TyperCommand):
    """A command that trains: settings describe its options, and all of them are listed."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the settings' own descriptions."""
        from coslide.config.training import describe_settings

        names, described = _settings_of_options(), describe_settings()
        for option in self.params:
            if option.name in names and isinstance(option, TyperOption):
                option.help = described.pop(names[option.name])
        self.epilog = "\n\n".join(["Settings for --set:", *(f"{name}: {text}" for name, text in described.items())])
        super().format_help(ctx, formatter)


class FetchCommand(TyperCommand):
    """A command that fetches: the record of its options describes them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the record's own descriptions."""
        from coslide.config.fetching import describe_options

        described = describe_options()
        for option in self.params:
            if option.name in described and isinstance(option, TyperOption):
                option.help = described[option.name]
        super().format_help(ctx, formatter)


def _settings_of_options() -> dict[str, str]:
    """Map the names that options may have to the dotted names of settings: ``epochs`` to ``optimiser.epochs``."""
    from coslide.config.training import describe_settings

    own = {name.rpartition(".")[2]: name for name in describe_settings()}
    return {**own, "split": "split.scheme", "sampling": "sampling.select"}


def given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Name the settings that the options of a command and its --set give, by their dotted names."""
    given = {name: options[option] for option, name in _settings_of_options().items() if option in options}
    for pair in options["set_"] or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set: found {pair!r}, expected NAME=VALUE, such as loss.gamma=1")
        try:
            given[name.strip()] = parse_toml(f"value = {text}")["value"]
        except ValueError:
            given[name.strip()] = text.strip()  # a word needs no quotes
    return given


def model_and_index(given: Sequence[Path]) -> tuple[Path | None, Path]:
    """Tell a model, None where there is none, from the cube after it."""
    if len(given) > 2:
        raise InputError(f"found {len(given)} paths ({', '.join(map(str, given))}), expected [MODEL] INDEX")
    return (given[0] if len(given) == 2 else None), given[-1]


def vector_file_of(option: str, path: Path | None, names: list[str] | None, encoding: str | None) -> Any:
    """Tell what to read for an option and those for its layer and encoding; None where it is not given."""
    from coslide.io.vector import VectorFile

    found = VectorFile(path or Path(), tuple(names or ()) or None, encoding, f"--{option}-layer")
    for key, value in ((found.key, next(iter(names or ()), None)), (found.encoding_key, encoding)):
        if path is None and value:
            raise InputError(f"{key}: found {value!r} without --{option}")
    return found if path else None
