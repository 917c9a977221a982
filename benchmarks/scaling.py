"""How the cost of EGCN grows with tile, k and width, and from how many nodes on a dense graph no longer pays.

    python benchmarks/scaling.py OUT [draw]

Writes what it measured to OUT/network-scaling.json, after each point, prints it as tables, and draws it to
OUT/network-scaling.png; `draw` prints and draws what is there. All of it runs on the CPU in float32 and in one thread,
on two tiles at a time, as a part of a training's batch is computed. Sides that are compared take turns, times are those
of the thread alone, and medians are given. Memory is the peak of a process of its own above what it had before.
"""

import copy
import ctypes
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from scaling_figure import PARTS, USUAL, Row, along, axis_of, crossing, draw
from torch import Tensor, nn

from coslide.memory import keep_freed_memory, peak_memory_gb, restart_peak
from coslide.networks import cgblock, create, eisgnn
from coslide.networks.cost import cost
from coslide.networks.eisgnn import EISGNN
from coslide.networks.graph import SEARCHED, GraphOptions, nearest, neighbours
from networks import seconds, step

BATCH, BANDS = 2, 30
AXES = {"tile": (64, 128, 256, 512), "k": (8, 16, 32, 64), "width": (8, 16, 32, 64)}
KINDS = ("inference", "step", "memory")
NODES, KS, CHANNELS = (16, 36, 64, 144, 256, 576, 1024, 2304), (8, 16, 32), (16, 32, 64, 128, 256)
LEAST_TURNS, MOST_TURNS = 2, 15  # beside the first, which is not counted
NETWORK_S, GRAPH_S = 4, 0.3  # for the turns of one point
_MMAP_THRESHOLD = -3  # <malloc.h> of glibc

Work = Callable[[], object]


class Dense(EISGNN):
    """EISGNN in its plain form: scores of all pairs of nodes, and sums over all nodes, most of weight 0."""

    def _runs_tuned(self, x: Tensor) -> bool:
        return False


class Gathered(EISGNN):
    """EISGNN in torch on the k edges of each node alone, whose ends are gathered."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output of EISGNN, (batch, node, C)."""
        h = self.w1(x)
        found = self.neighbourhood(x, h)
        attended = _mix(found.attention, _ends(self._laid(h), found.nodes))
        aggregated = _mix(found.weights, _ends(attended, found.nodes))
        lambda_, mu = self.lambda_.view(-1, 1), self.mu.view(-1, 1)
        return (lambda_ * aggregated + mu * attended).flatten(2) + h

    def _laid(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.options.heads, -1))

    def _eic(self, h: Tensor, nodes: Tensor) -> Tensor:
        h = self._laid(h)
        log_p, unit = h.log_softmax(dim=-1), h * h.square().sum(dim=-1, keepdim=True).clamp_min(1e-12).rsqrt()
        entropy = -(log_p.exp().unsqueeze(2) * _ends(log_p, nodes)).sum(dim=-1)
        cosine = (unit.unsqueeze(2) * _ends(unit, nodes)).sum(dim=-1)
        return (1 / entropy.clamp_min(self.options.e_min) + cosine).permute(0, 3, 1, 2)


FORMS = {"dense": Dense, "gathered": Gathered, "compiled": EISGNN}


def _ends(x: Tensor, nodes: Tensor) -> Tensor:
    """Gather x (batch, node, head, d) of each node's neighbours, (batch, node, k, head, d)."""
    return x[torch.arange(len(x)).view(-1, 1, 1), nodes]


def _mix(weights: Tensor, ends: Tensor) -> Tensor:
    """Sum the neighbours by their weights (batch, head, node, k), to (batch, node, head, d)."""
    return (weights.permute(0, 2, 3, 1).unsqueeze(-1) * ends).sum(dim=2)


def main() -> None:
    """Measure, print and draw."""
    out = Path(sys.argv[1])
    written = out / "network-scaling.json"
    if "draw" not in sys.argv[2:]:
        torch.set_num_threads(1)
        out.mkdir(parents=True, exist_ok=True)
        measure(written)
    found = json.loads(written.read_text(encoding="utf-8"))
    tell_networks(found["networks"])
    tell_graphs(found["graphs"])
    draw(found["networks"], found["graphs"], out / "network-scaling.png")


def measure(path: Path) -> None:
    """Measure all points, and write what there is after each: memory first, for what is freed later is kept."""
    of_networks: list[Row] = [{**USUAL, axis: value} for axis, values in AXES.items() for value in values]
    of_networks = [row for number, row in enumerate(of_networks) if row not in of_networks[:number]]
    of_graphs: list[Row] = [
        {"channels": channels, "k": k, "nodes": nodes}
        for channels, k, nodes in product(CHANNELS, KS, NODES)
        if nodes >= k
    ]

    def note(row: Row, found: Row) -> None:
        row.update(found)
        path.write_text(json.dumps({"networks": of_networks, "graphs": of_graphs}, indent=1), encoding="utf-8")
        print(row, file=sys.stderr, flush=True)

    for rows, memory in ((of_networks, network_memory), (of_graphs, graph_memory)):
        for row in rows:
            note(row, memory(row))
    keep_freed_memory()  # as the command line does
    for rows, times in ((of_networks, network_times), (of_graphs, graph_times)):
        for row in rows:
            note(row, times(row))


def take_turns(kind: str, works: dict[str, Work], budget_s: float) -> Row:
    """Return the median time of each work [ms a tile]; they take turns, fewer where one takes long."""
    for work in works.values():
        work()
    start, rounds = time.thread_time(), []
    while len(rounds) < LEAST_TURNS or (len(rounds) < MOST_TURNS and time.thread_time() - start < budget_s):
        rounds.append([seconds(work) for work in works.values()])
    medians = [1e3 / BATCH * statistics.median(times) for times in zip(*rounds, strict=True)]
    return {f"{kind} {name}": median for name, median in zip(works, medians, strict=True)}


def peak_mib(work: Work, first: Work) -> float:
    """Return the peak memory of a process of its own that does `work`, above what it has after `first` [MiB]."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def measure_it() -> None:
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 2**16)  # what is freed before must not serve what is measured
        first()
        library.malloc_trim(0)
        restart_peak()
        before = peak_memory_gb(since_restart=True)
        work()
        queue.put((peak_memory_gb(since_restart=True) - before) * 1e9 / 2**20)

    child = context.Process(target=measure_it)
    child.start()
    child.join()
    assert child.exitcode == 0
    found: float = queue.get()
    return found


def inference(module: nn.Module, x: Tensor) -> Work:
    """Return a call without gradients."""

    def run() -> Tensor:
        with torch.inference_mode():
            return module(x)

    return run


def both_networks(row: Row) -> dict[str, nn.Module]:
    """Make the networks of a point, on the current device."""
    torch.manual_seed(0)
    egcn = create("egcn", BANDS, width=row["width"], k=row["k"])
    return {"egcn": egcn, "unet": create("unet", BANDS, width=row["width"], norm="channel_ln", activation="gelu")}


def network_memory(row: Row) -> Row:
    """Measure the peak memory of a training step."""
    x, small = (torch.randn(BATCH, BANDS, side, side) for side in (row["tile"], 32))
    return {f"memory {name}": peak_mib(step(one, x), step(one, small)) for name, one in both_networks(row).items()}


def network_times(row: Row) -> Row:
    """Time inference and a training step, and what is the graph's in the latter, and count multiply-adds."""
    both, x = both_networks(row), torch.randn(BATCH, BANDS, row["tile"], row["tile"])
    found: Row = {"nodes": (row["tile"] // 16) ** 2}
    for kind, work in (("inference", inference), ("step", step)):
        found |= take_turns(kind, {name: work(one, x) for name, one in both.items()}, NETWORK_S)
        found[f"{kind} ratio"] = found[f"{kind} egcn"] / found[f"{kind} unet"]
    found |= loops(step(both["egcn"], x))
    found["rest"] = found["step egcn"] - sum(found[name] for name in ("step unet", "search", "edges", "patches"))
    with torch.device("meta"):
        for name, one in both_networks(row).items():
            found[f"G {name}"] = cost(one, BANDS, side=row["tile"]).multiply_adds / 1e9
    layers = [one for one in both["egcn"].modules() if isinstance(one, EISGNN)]
    return found | {
        "G pairs": found["nodes"] ** 2 * sum(one.w1.in_features + 4 * one.out_channels for one in layers) / 1e9
    }


def loops(work: Work) -> dict[str, float]:
    """Time the compiled loops of the graph within EGCN [ms a tile]: search, edges and patches."""
    clock: Counter[str] = Counter()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            result = function(*arguments, **options)
            clock[name] += time.thread_time() - start
            return result

        return run

    where = {"search": (eisgnn, "nearest"), "edges": (eisgnn, "run_loops"), "patches": (cgblock, "run_loops")}
    rounds = []
    with ExitStack() as patches:
        for name, place in where.items():
            patches.enter_context(mock.patch.object(*place, timed(name, getattr(*place))))
        for _ in range(LEAST_TURNS):
            clock.clear()
            work()
            rounds.append(dict(clock))
    return {name: 1e3 / BATCH * statistics.median(one[name] for one in rounds) for name in where}


def layers_of(row: Row) -> tuple[dict[str, EISGNN], Tensor]:
    """Make the layer of a point in each form, with the same weights, and its nodes."""
    torch.manual_seed(0)
    layers = {name: form(row["channels"], row["channels"], GraphOptions(k=row["k"])) for name, form in FORMS.items()}
    for one in layers.values():
        one.load_state_dict(layers["dense"].state_dict())
    return layers, torch.randn(BATCH, row["nodes"], row["channels"])


def graph_memory(row: Row) -> Row:
    """Measure the peak memory of a layer's step in each form."""
    layers, x = layers_of(row)
    return {f"memory {name}": peak_mib(step(one, x), step(one, x[:, :16])) for name, one in layers.items()}


def graph_times(row: Row) -> Row:
    """Time a layer in each form, and its search alone; the forms must agree."""
    layers, x = layers_of(row)
    with torch.inference_mode():  # in float32 a rounding may change which of two neighbours is selected
        dense, gathered = (copy.deepcopy(layers[name]).double()(x.double()) for name in ("dense", "gathered"))
    torch.testing.assert_close(gathered, dense, rtol=0, atol=1e-8)
    found = take_turns("inference", {name: inference(one, x) for name, one in layers.items()}, GRAPH_S)
    found |= take_turns("step", {name: step(one, x) for name, one in layers.items()}, GRAPH_S)
    searches: dict[str, Work] = {"product": lambda: neighbours(x, row["k"])}
    if row["nodes"] <= SEARCHED:
        searches["loop"] = lambda: nearest(x, row["k"], include_self=True)
    return found | take_turns("search", searches, GRAPH_S)


def tell(head: Sequence[object], lines: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    every = [head, ["---"] * len(head), *lines]
    print("\n".join("| " + " | ".join(map(str, line)) + " |" for line in every) + "\n", flush=True)


def tell_columns(rows: Sequence[Row], axis: str, columns: Sequence[str]) -> None:
    """Print columns along an axis, and the exponent of each between the last two points at which it was measured."""
    lines: list[list[object]] = [[row[axis], *(f"{row[c]:.3g}" if c in row else "" for c in columns)] for row in rows]
    exponents = []
    for column in columns:
        one, two = [row for row in rows if column in row][-2:]
        grown, by = two[column] / one[column], two[axis] / one[axis]
        exponents.append(f"{math.log(grown) / math.log(by):.2f}" if grown > 0 else "")
    tell([axis, *columns], [*lines, ["exponent", *exponents]])


def tell_networks(rows: list[Row]) -> None:
    """Print what two tiles cost along each axis, and what each part takes of a training step."""
    print(f"Networks: times [ms a tile], memory of a training step of {BATCH} tiles [MiB], multiply-adds of one [G]\n")
    for axis in AXES:
        times = [f"{kind} {name}" for kind in ("inference", "step") for name in ("egcn", "unet", "ratio")]
        others = ["memory egcn", "memory unet", "G egcn", "G pairs", "G unet"]
        tell_columns(axis_of(rows, axis), axis, [*times, *others])
        tell_columns(axis_of(rows, axis), axis, list(PARTS))


def tell_graphs(rows: list[Row]) -> None:
    """Print from how many nodes on a dense graph no longer pays, and all costs at the least k."""
    print(f"Graph layer: times [ms a graph], memory of a training step of {BATCH} graphs [MiB]\n")
    for kind in KINDS:
        lines = []
        for channels, k in product(CHANNELS, KS):
            shown = along(rows, channels=channels, k=k)
            ratios = {row["nodes"]: f"{row[f'{kind} dense'] / row[f'{kind} gathered']:.2f}" for row in shown}
            lines.append([channels, k, *(ratios.get(nodes, "") for nodes in NODES), f"{crossing(shown, kind):.0f}"])
        tell([f"{kind}, dense over gathered: channels", "k", *NODES, "crossing"], lines)
        worst = max(row[f"{kind} compiled"] / row[f"{kind} dense"] for row in rows)
        print(f"{kind}, compiled over dense: at most {worst:.2f}\n")
    columns = [f"{kind} {form}" for kind in KINDS for form in FORMS] + ["search product", "search loop"]
    for channels, k in product((CHANNELS[0], CHANNELS[-1]), (KS[0], KS[-1])):
        print(f"{channels} channels, k = {k}\n")
        tell_columns(along(rows, channels=channels, k=k), "nodes", columns)


if __name__ == "__main__":
    main()
