"""Results in a terminal: as tables, or as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from coslide.errors import one_line

if TYPE_CHECKING:
    from coslide.evaluation.assessment import Assessment
    from coslide.evaluation.scores import Scores
    from coslide.evaluation.study import Run, Study
    from coslide.pipeline.doctor import Check
    from coslide.pipeline.event_draft import Line
    from coslide.pipeline.fetch import FetchPlan
    from coslide.pipeline.shipped import ShippedModel
    from coslide.pipeline.study_cost import Plan
    from coslide.pipeline.watch import Watched

_MOST_LEFT_OUT = 15


def print_scores(found: "Scores", *, as_json: bool) -> None:
    """Print scores as a table, or as JSON."""
    if as_json:
        return _print_json(found.to_json())
    from coslide.pipeline.evaluate import COLUMNS, result_rows

    title = "Scores" if found.split.scheme == "unknown" else "Scores on held-out pixels"
    return _print_table(["method", *COLUMNS.values()], result_rows(found), title=title)


def print_assessment(found: "Assessment", *, as_json: bool) -> None:
    """Print what the labels of a sample tell of a map as tables, or as JSON."""
    if as_json:
        return _print_json(found.model_dump(mode="json"))
    from coslide.evaluation.assessment import comparison_rows, estimate_rows, stratum_rows

    title = f"{found.labelled} labels for {found.sampled_km2:.4g} km2, of which {found.mapped_km2:.4g} km2 are mapped"
    head, *rows = estimate_rows(found)
    _print_table(head, rows, right=head[1:], title=title)
    head, *rows = stratum_rows(found)
    _print_table(head, rows, right=head[1:], title="Labels; more: for an interval half as wide")
    if found.comparison is not None:
        head, *rows = comparison_rows(found.comparison)
        title = f"Compared with {found.comparison.other} on {found.comparison.labelled} labels"
        _print_table(head, rows, right=head[1:], title=title)
    return None


def print_study(found: "Study", *, as_json: bool) -> None:
    """Print the table of a study, or all of it as JSON."""
    if as_json:
        return _print_json(found.model_dump(mode="json"))
    from coslide.evaluation.study_tables import brief_rows, transfer_rows

    transfer = found.name == "transfer"
    head, *rows = transfer_rows(found, brief=True) if transfer else brief_rows(found)
    caption = "Oracle: at the threshold that is best on the scored pixels; a bound, not a result."
    words = caption if transfer else "Mean ± deviation over the seeds; study.md says which differences are sure."
    return _print_table(head, rows, right=head[1 + transfer :], title=f"Study: {found.title}", caption=words)


def print_runs(runs: Sequence[tuple["Run", str]], *, as_json: bool) -> None:
    """Print the trainings of a study and the state of each as a table, or as JSON."""
    if as_json:
        return _print_json([{**run.model_dump(mode="json"), "state": state} for run, state in runs])
    rows = [(run.name, state, run.case, ", ".join(Path(path).name for path in run.train)) for run, state in runs]
    return _print_table(("run", "state", "unseen", "trains on"), rows, title=f"{len(runs)} trainings")


def print_plan(plan: "Plan", *, as_json: bool) -> None:
    """Print the plan of a study as a table, or as JSON."""
    if as_json:
        return _print_json(plan.model_dump(mode="json"))
    rows = [
        (one.run.name, one.state, f"{one.steps or ''}", f"{one.step_s:.2f} s" if one.step_s else "")
        for one in plan.runs
    ]
    head = ("run", "state", "steps", "a step alone")
    return _print_table(head, rows, right=head[2:], title=plan.line())


def print_contents(bands: Sequence[Mapping[str, Any]], title: str, *, as_json: bool) -> None:
    """Print the bands of a cube as a table, or as JSON."""
    if as_json:
        return _print_json(bands)
    rows = []
    for band in bands:
        ends = ["" if end is None else f"{end:.4g}" for end in (band["smallest"], band["largest"])]
        first, *more = band["source"] or [""]
        source = f"{Path(first).name} +{len(more)}" if more else Path(first).name
        rows.append((band["band"], band["role"], band["unit"], f"{100 * band['valid_share']:.1f} %", *ends, source))
    head = ("band", "role", "unit", "valid", "from", "to", "source")
    return _print_table(head, rows, right=("valid", "from", "to"), title=title)


def print_models(models: Sequence["ShippedModel"], *, as_json: bool) -> None:
    """Print the models that come with coslide as a table, or as JSON."""
    if as_json:
        return _print_json([one.entry() for one in models])
    from coslide.pipeline.shipped import model_rows

    head, *rows = model_rows(models)
    caption = "Unseen events had no part in a training; F1 is at the own threshold of a model. coslide models NAME"
    title, wrapped = "Models that come with coslide", ("bands", "unseen events")
    return _print_table(head, rows, right=("size",), wrapped=wrapped, title=title, caption=caption)


def print_model(model: "ShippedModel", *, as_json: bool) -> None:
    """Print the card of a model, or what `print_models` tells of it as JSON."""
    from coslide.pipeline.shipped import card_of

    if as_json:
        return _print_json(model.entry())
    return typer.echo(card_of(model.metadata), nl=False)


def print_networks(networks: Sequence[Mapping[str, Any]], bands: int, *, as_json: bool) -> None:
    """Print the networks with their sizes as a table, or as JSON."""
    if as_json:
        return _print_json(networks)
    caption = (
        "Table 4: weights and elements of feature maps, as the paper counts. Reconstruction: built from what is\n"
        "known of a network whose paper could not be read; low confidence: from little more than its title."
    )
    rows = []
    for network in networks:
        numbers, note = ("", "", ""), "which bands are before and after? --cube"
        if network["parameters"] is not None:
            table4, multiply_adds = network["params_table4"] / 1e6, network["multiply_adds"] / 1e9
            numbers = (f"{network['parameters']:,}", f"{table4:.2f} M", f"{multiply_adds:.2f} G")
            note = network["reconstruction"].split(":")[0]
        rows.append((network["network"], str(network["width"]), *numbers, note))
    right = ("width", "parameters", "Table 4", "multiply-adds")
    title = f"{bands} bands, 2 classes, a tile of 128 x 128"
    return _print_table(("network", *right, ""), rows, right=right, title=title, caption=caption)


def print_checks(checks: Sequence["Check"], *, as_json: bool) -> None:
    """Print what was found of an installation as a table, or as JSON."""
    if as_json:
        return _print_json([check._asdict() for check in checks])
    rows: list[tuple[str, str, str]] = []
    for check in checks:
        rows.append((check.state, check.name, check.found))
        rows += [("", "", f"-> {check.advice}")] if check.advice else []
    return _print_table(("", "part", "found"), rows, title="This installation")


def print_sources(lines: Sequence["Line"]) -> None:
    """Print what files were taken for, and which were left out, as tables."""
    taken = [line for line in lines if line.purpose]
    rows = [(line.purpose, line.name, line.why) for line in taken]
    _print_table(("key", "file", "what it was taken for"), rows, wrapped=("file",), title="Taken")
    rest = [(line.name, line.why) for line in lines if not line.purpose]
    if len(rest) > _MOST_LEFT_OUT:
        rest = [*rest[:_MOST_LEFT_OUT], (f"and {len(rest) - _MOST_LEFT_OUT} more", "")]
    if rest:
        _print_table(("file", "why"), rest, wrapped=("file",), title="Left out")


def print_fetch_plan(plan: "FetchPlan", *, as_json: bool) -> None:
    """Print what a map of an earthquake needs as a table, or as JSON."""
    if as_json:
        return _print_json({"id": plan.earthquake.id, "parts": [line._asdict() for line in plan.lines]})
    rows = [(one.part, one.date, f"{one.size_mb:,.1f} MB" if one.size_mb else "", one.chosen) for one in plan.lines]
    whole = sum(line.size_mb or 0.0 for line in plan.lines)
    title = f"{plan.earthquake.id}: {whole:,.0f} MB and rain and faults"
    return _print_table(("part", "date", "size", "chosen"), rows, right=("size",), title=title)


def print_watch(seen: Sequence["Watched"], *, as_json: bool) -> None:
    """Print earthquakes and how far the map of each is as a table, or as JSON."""
    if as_json:
        return _print_json([one.model_dump(mode="json") for one in seen])
    rows = [(one.id, f"{one.time_utc:%Y-%m-%d}", one.title, one.state, one.told) for one in seen]
    head = ("id", "date", "earthquake", "state", "what of it")
    return _print_table(head, rows, wrapped=("earthquake",), title=f"{len(rows)} earthquakes")


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str,
    right: Sequence[str] = (),
    wrapped: Sequence[str] = (),
    caption: str = "",
) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    wrapped = [*wrapped, head[-1]]
    columns = [
        Column(name, justify="right" if name in right else "left", no_wrap=name not in wrapped, overflow="fold")
        for name in head
    ]
    table = Table(*columns, title=Text(one_line(title)), caption=caption, box=None)
    for row in rows:
        table.add_row(*(Text(one_line(text)) for text in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)  # where no terminal tells its width
