"""EGCN as a whole: its size, its shapes, its gradients."""

import pytest
import torch
from torch import nn

from coslide.networks.cgblock import CGBlock
from coslide.networks.egcn import EGCN
from coslide.networks.eisgnn import EISGNN
from coslide.training.loss import ClassBalancedFocalLoss


@pytest.fixture(scope="module")
def paper():
    """Return the network with the paper's sizes, without memory for its weights."""
    with torch.device("meta"):
        return EGCN()


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def blocks(net):
    return [module for module in net.modules() if isinstance(module, CGBlock)]


def small(**options):
    torch.manual_seed(0)
    return EGCN(5, **{"width": 16} | options)


def test_the_papers_network_has_its_number_of_parameters(paper):
    assert count(paper) == 38_347_526


UP_MODES = {
    "depthwise": 38_347_526,
    "nearest": 38_216_710,
    "grouped": 40_581_894,
    "k2_chain": 45_563_398,
    "full": 57_096_966,
}
ATTENTION = [  # W1 shared or not, attention as in Eq. 5 or with a map of its own for each end
    ({"attn_param": "dgl"}, 40_614_534),
    ({"share_w1": False}, 41_486_982),
    ({"share_w1": False, "attn_param": "dgl"}, 43_753_990),
    ({"share_w1": False, "attn_param": "dgl", "up_mode": "full"}, 62_503_430),
]
VARIANTS = [*(({"up_mode": mode}, number) for mode, number in UP_MODES.items()), *ATTENTION]


@pytest.mark.parametrize(("options", "number"), VARIANTS, ids=str)
def test_every_variant_has_its_number_of_parameters(options, number):
    with torch.device("meta"):
        assert count(EGCN(**options)) == number


def test_a_full_deconvolution_that_is_left_out_at_depth_five_saves_its_two_layers():
    """Rate 1 needs no up-sampling; without its two full layers of 1024 x 1024 + 1024 there are 54,997,766."""
    with torch.device("meta"):
        assert count(EGCN(up_mode="full")) - 2 * (1024**2 + 1024) == 54_997_766


def test_a_norm_over_the_whole_map_costs_sixteen_million_parameters():
    with torch.device("meta"):
        assert count(EGCN(norm="full_ln")) - count(EGCN()) == 15_990_784 - 11_776  # 2 C H W against 2 C


def test_eighteen_blocks_replace_the_convolutions_of_u_net(paper):
    assert len(blocks(paper)) == 18


def second_block(paper, depth):
    """Return the block of a depth whose inputs are as many as its outputs."""
    return (paper.encoder[depth - 1][1] if depth < 5 else paper.bottom[1])[0]


PER_DEPTH = [
    (1, 36_928, 9_296, 16_448),
    (2, 147_584, 37_008, 8_320),
    (3, 590_080, 147_728, 4_352),
    (4, 2_359_808, 590_352, 2_560),
    (5, 9_438_208, 2_360_336, 2_048),
]


@pytest.mark.parametrize(("depth", "convolution", "graph", "up"), PER_DEPTH)
def test_each_part_of_a_block_has_its_number_of_parameters(paper, depth, convolution, graph, up):
    block = second_block(paper, depth)
    found = (count(block.convolution), count(block.branch.eisgnn), count(block.branch.up))
    assert found == (convolution, graph, up)


def test_channels_run_as_in_the_papers_table(paper):
    channels = [(block.convolution.in_channels, block.convolution.out_channels) for block in blocks(paper)]
    encoder = [(30, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    bottom = [(512, 1024), (1024, 1024)]
    decoder = [(128, 64), (64, 64), (256, 128), (128, 128), (512, 256), (256, 256), (1024, 512), (512, 512)]
    assert channels == encoder + bottom + decoder


def node_counts(net, height, width):
    found = []
    for module in net.modules():
        if isinstance(module, EISGNN):
            module.register_forward_pre_hook(lambda _, args: found.append(args[0].shape[1]))
    with torch.no_grad():
        net(torch.randn(1, 5, height, width))
    return found


@pytest.mark.parametrize(("height", "width", "nodes"), [(128, 128, 64), (64, 96, 24), (160, 144, 90)])
def test_the_graph_has_the_same_nodes_at_every_depth(height, width, nodes):
    assert node_counts(small(), height, width) == [nodes] * 18


def test_blocks_are_followed_by_norm_and_gelu():
    kinds = [type(module).__name__ for module in small().encoder[0][0]]
    assert kinds == ["CGBlock", "ChannelLayerNorm", "GELU"]


def test_the_decoder_appends_the_encoders_map_after_the_deconvolution():
    net, seen = small(), {}
    net.encoder[0].register_forward_hook(lambda *args: seen.update(skip=args[2]))
    net.up[0].register_forward_hook(lambda *args: seen.update(up=args[2]))
    net.decoder[0].register_forward_pre_hook(lambda _, args: seen.update(both=args[0]))
    net(torch.randn(1, 5, 32, 32))
    assert torch.equal(seen["both"], torch.cat([seen["up"], seen["skip"]], dim=1))


@pytest.mark.parametrize(
    ("height", "width", "channels", "classes"), [(128, 128, 8, 2), (64, 64, 16, 3), (64, 96, 16, 2), (16, 16, 8, 2)]
)
def test_loss_and_gradients_are_finite_and_logits_have_the_inputs_size(height, width, channels, classes):
    net = small(width=channels, classes=classes)
    logits = net(torch.randn(2, 5, height, width))
    loss = ClassBalancedFocalLoss()(logits, torch.randint(classes, (2, height, width)))
    loss.backward()
    finite = all(parameter.grad.isfinite().all() for parameter in net.parameters())
    assert (logits.shape, loss.isfinite().item(), finite) == ((2, classes, height, width), True, True)


def test_the_graph_carries_influence_beyond_the_convolutions_reach():
    """With the convolutions silent at depth 1, a node that changes still changes patches that are not its own."""
    net, x = small().double().encoder[0][0], torch.randn(1, 5, 64, 64, dtype=torch.float64)
    nn.init.zeros_(net[0].alpha)
    moved = x.clone()
    moved[:, :, 0, 0] += 0.1
    assert (net(moved) - net(x)).abs()[:, :, 16:, 16:].max() > 1e-6


@pytest.mark.parametrize(
    "option",
    [
        {"heads": 4},
        {"k": 3},
        {"select_factor": 0.2},
        {"include_self": False},
        {"e_min": 1.0},
        {"attn_order": "eq5"},
        {"attn_param": "dgl"},
        {"share_w1": False},
        {"eic_norm": "none"},
        {"eic_scope": "full"},
    ],
)
def test_every_graph_option_reaches_every_graph(option):
    (name, value) = next(iter(option.items()))
    graphs = [module for module in small(**option).modules() if isinstance(module, EISGNN)]
    assert {getattr(graph.options, name) for graph in graphs} == {value}


@pytest.mark.parametrize(
    "option",
    [{"up_mode": "full"}, {"up_mode": "nearest"}, {"down_mode": "avg"}, {"norm": "gn1"}, {"norm": "bn"}],
    ids=str,
)
def test_every_option_of_the_frame_trains(option):
    net = small(**option)
    net(torch.randn(2, 5, 32, 32)).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.isfinite().all()] == []


def test_training_steps_lower_the_loss_on_one_tile():
    net, criterion = small(), ClassBalancedFocalLoss()
    x, targets = torch.randn(2, 5, 32, 32), torch.zeros(2, 32, 32, dtype=torch.uint8)
    targets[:, 8:16, 4:20] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = criterion(net(x), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
