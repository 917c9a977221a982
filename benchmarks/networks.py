"""Speed of EGCN against U-Net, of its graph branch against edge lists, and what AcmixUnet trains in.

    python benchmarks/networks.py [ratios] [graph] [memory]

Everything if nothing is named. All of it runs on the CPU in float32 and in one thread, as scenes are mapped: by several
threads that each run the network by themselves. The two sides of a ratio take turns in one process, so that both meet
the same machine, and the median over the turns is printed with its quartiles. Times are those of the thread, without
what it waits for a processor; on a shared machine they still vary with what else runs.
"""

import copy
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslide import networks
from coslide.memory import keep_freed_memory
from coslide.networks import acmix
from coslide.networks.cgblock import GraphBranch, fuse
from coslide.networks.eisgnn import EISGNN
from coslide.networks.graph import selected_count

BATCH, BANDS, SIDE = 8, 30, 128
TURNS = {16: 15, 64: 5}
PLAIN = "acmix-unet plain"  # its attention in torch, as on other devices
TARGETS = {16: {"inference": 1.30, "training step": 1.45}, 64: {"inference": 1.20, "training step": 1.20}}  # by width


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes of this thread [s]."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def compare(ours: Callable[[], object], other: Callable[[], object], turns: int) -> dict[str, float]:
    """Return the medians of both [s], and of the ratio ours / other with its quartiles."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(turns)]
    ratios = [one / two for one, two in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    ours_s, other_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {"ours_s": ours_s, "other_s": other_s, "ratio": middle, "quartiles": (low, high)}


def say(what: str, found: dict[str, float]) -> None:
    """Print a comparison in one line."""
    low, high = found["quartiles"]
    numbers = f"{found['ours_s'] * 1e3:8.1f} ms against {found['other_s'] * 1e3:8.1f} ms"
    print(f"{what:52s} {numbers}: ratio {found['ratio']:.2f} ({low:.2f} to {high:.2f})", flush=True)


def step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a training step without the optimiser, which both networks share."""

    def run() -> None:
        network.zero_grad()
        network(x).square().mean().backward()

    return run


def ratios() -> None:
    """Compare EGCN with the U-Net of the same width, norm and activation."""
    for width, turns in TURNS.items():
        torch.manual_seed(0)
        egcn = networks.create("egcn", BANDS, width=width)
        unet = networks.create("unet", BANDS, width=width, norm="channel_ln", activation="gelu")
        x = torch.randn(BATCH, BANDS, SIDE, SIDE)
        with torch.inference_mode():
            fused = fuse(egcn)
            say(f"width {width}, inference", compare(lambda: egcn(x), lambda: unet(x), turns))  # noqa: B023
            say(f"width {width}, inference, fused", compare(lambda: fused(x), lambda: unet(x), turns))  # noqa: B023
        say(f"width {width}, training step", compare(step(egcn, x), step(unet, x), turns))
    print("targets:", json.dumps(TARGETS))


class EdgeListEISGNN(nn.Module):
    """EISGNN as it is written with torch_geometric: one edge list for the whole batch, messages gathered along it.

    Neighbours by cdist and argsort, as Eq. 12-13 of the paper are written.
    """

    def __init__(self, layer: EISGNN) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return what `layer` returns, (batch, node, C)."""
        from torch_geometric.utils import scatter, softmax

        layer, (batch, count, _) = self.layer, x.shape
        itself = torch.eye(count, dtype=torch.bool)
        nearest = torch.cdist(x, x).masked_fill(itself, -1).argsort(dim=-1, stable=True)[..., : layer.options.k]
        first = torch.arange(batch).view(-1, 1, 1) * count
        source, target = (nearest + first).flatten(), torch.arange(batch * count).repeat_interleave(layer.options.k)
        nodes = x.flatten(0, 1)
        h = layer.w1(nodes).view(len(nodes), layer.options.heads, -1)
        z = torch.einsum("ehd,hdf->ehf", torch.cat([h[target], h[source]], dim=2), layer.w2)
        logits = (F.leaky_relu(z, 0.2) * layer.attention).sum(dim=-1)
        attention = softmax(logits, target, num_nodes=len(nodes))
        attended = scatter(attention.unsqueeze(-1) * h[source], target, dim_size=len(nodes))
        h3 = layer.w3(nodes).view_as(h)
        log_p = h3.log_softmax(dim=-1)
        entropy = -(log_p.exp()[target] * log_p[source]).sum(dim=-1).clamp_max(-layer.options.e_min)
        eic = 1 / entropy + F.cosine_similarity(h3[target], h3[source], dim=-1, eps=1e-6)
        by_node = eic.view(len(nodes), layer.options.k, layer.options.heads)
        chosen = by_node.topk(selected_count(layer.options.k, layer.options.select_factor), dim=1).indices
        kept = torch.zeros_like(by_node, dtype=torch.bool).scatter(1, chosen, 1).view_as(eic)
        weights = softmax(eic.masked_fill(~kept, -torch.inf), target, num_nodes=len(nodes))
        aggregated = scatter(weights.unsqueeze(-1) * attended[source], target, dim_size=len(nodes))
        out = layer.lambda_.view(-1, 1) * aggregated + layer.mu.view(-1, 1) * attended + h
        return out.view(batch, count, -1)


def edge_list_branch(branch: GraphBranch) -> Callable[[Tensor], Tensor]:
    """Return the same branch on edge lists, its patches brought back by torch's deconvolution."""
    layer = EdgeListEISGNN(branch.eisgnn)

    def run(x: Tensor) -> Tensor:
        nodes = F.interpolate(x, scale_factor=1 / branch.rate, mode="nearest")
        features = layer(nodes.flatten(2).mT).mT.unflatten(2, nodes.shape[-2:])
        up = branch.up
        return F.conv_transpose2d(features, up.weight, up.bias, stride=branch.rate, groups=features.shape[1])

    return run


def graph() -> None:
    """Compare the graph branch with the same branch on edge lists, at every depth of the paper's network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch_geometric

    print("torch_geometric", torch_geometric.__version__)
    for width in TURNS:
        for depth in range(1, 6):
            torch.manual_seed(0)
            channels, rate, side = width * 2 ** (depth - 1), 16 >> (depth - 1), SIDE >> (depth - 1)
            branch = GraphBranch(EISGNN(channels, channels), rate=rate)
            edges = edge_list_branch(branch)
            x = torch.randn(BATCH, channels, side, side).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                in_double = copy.deepcopy(branch).double()  # a rounding may change which of two equals is selected
                both = in_double(x.double()), edge_list_branch(in_double)(x.double())
                torch.testing.assert_close(*both, rtol=0, atol=1e-8)
                say(f"graph branch, width {width}, depth {depth}", compare(lambda: branch(x), lambda: edges(x), 15))  # noqa: B023
            x.requires_grad_()
            both = [lambda: branch(x).square().sum().backward(), lambda: edges(x).square().sum().backward()]  # noqa: B023
            say(f"graph branch, width {width}, depth {depth}, training", compare(*both, 9))


def memory() -> None:
    """Print the peak memory of processes that do training steps at batch 4, at the paper's width and at 16."""
    for width in (64, 16):
        for name in ("acmix-unet", PLAIN, "egcn", "unet"):
            command = [sys.executable, __file__, "peak", name, str(width)]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), flush=True)  # noqa: S603


def peak(name: str, width: int) -> None:
    """Print the peak memory of this process after five training steps of a network, and what steps and maps take."""
    if name == PLAIN:
        acmix.runs_compiled = lambda *_: False
    keep_freed_memory()
    torch.set_num_threads(1)
    network = networks.create(name.removesuffix(" plain"), BANDS, width=width)
    x = torch.randn(4, BANDS, SIDE, SIDE)
    steps = [seconds(step(network, x)) for _ in range(5)]
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage would count the parent's peak too
    gib = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    with torch.inference_mode():
        maps = [seconds(lambda: network(x)) for _ in range(5)]
    times = f"{statistics.median(steps):.2f} s a step, {statistics.median(maps):.2f} s inference"
    print(f"{name:16s} width {width}, batch 4: peak {gib:.2f} GiB, {times}")


def main() -> None:
    """Run what the command line names."""
    words = sys.argv[1:]
    if words[:1] == ["peak"]:
        return peak(words[1], int(words[2]))
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}, {BANDS} x {SIDE} x {SIDE}")
    for part in (ratios, graph, memory):
        if not words or part.__name__ in words:
            part()
    return None


if __name__ == "__main__":
    main()
