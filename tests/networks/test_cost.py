"""What networks cost, against counts by hand and the paper's formula."""

import pytest
import torch
from torch import nn

from coslide import networks
from coslide.cube.band import Band
from coslide.networks.cost import Cost, cost, table

# name: parameters, multiply-adds [G], Table 4 [M], all at 30 bands, 2 classes and 128 x 128; None is not tabulated.
# Multiply-adds are those of the convolutions alone where a network has little else.
TABLE = {
    "egcn": (38_347_526, None, None),
    "egcn-msa": (44_023_286, None, None),
    "egcn-esa": (70_186_496, None, None),
    "unet": (31_059_138, 12.3, 41.03),
    "acmix-unet": (12_717_502, None, 136.9),
    "fcn-pp": (28_140_418, 8.9, 34.16),
    "fcn-pp-wide": (42_299_266, 9.8, 48.4),
    "deepunet": (602_370, 2.2, 5.35),
    "cdcnn": (8_344_898, None, None),
    "dp-fcn": (13_799_074, None, 20.83),
    "landsnet": (3_373_442, 4.4, 12.90),
}


@pytest.fixture(scope="module")
def rows():
    return {row["network"]: row for row in table()}


@pytest.mark.parametrize("name", networks.names())
def test_every_network_has_its_number_of_parameters(rows, name):
    assert rows[name]["parameters"] == TABLE[name][0]


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[1]])
def test_multiply_adds_are_those_tabulated(rows, name):
    assert rows[name]["multiply_adds"] / 1e9 == pytest.approx(TABLE[name][1], abs=0.06)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[2]])
def test_the_papers_formula_gives_what_is_tabulated(rows, name):
    assert rows[name]["params_table4"] / 1e6 == pytest.approx(TABLE[name][2], abs=0.06)


def on_meta(**options):
    with torch.device("meta"):
        return networks.create("egcn", **options)


@pytest.mark.parametrize("options", [{"share_w1": False}, {"attn_param": "dgl"}], ids=str)
def test_the_tabulated_78_5_million_of_egcn_hold_with_three_maps_in_each_graph(options):
    """The table counts W1 of Eq. 1, W1 of Eq. 3 and W3; the default shares W1, which is applied once: 74.9 M.

    One map less in each of the 18 blocks: sum Cin C = 3,139,456 weights and 64 sum C = 376,832 elements.
    """
    three = cost(on_meta(**options), 30).params_table4
    assert three / 1e6 == pytest.approx(78.5, abs=0.06)
    assert three - cost(on_meta(), 30).params_table4 == 3_139_456 + 376_832


def test_the_papers_formula_does_not_tell_a_depthwise_from_a_full_deconvolution():
    assert cost(on_meta(), 30).params_table4 == cost(on_meta(up_mode="full"), 30).params_table4


def test_a_graph_adds_its_maps_products_and_patches_to_the_convolutions():
    """Every block: three maps' worth of products on 64 nodes, twice 64 x 64 spreads and scores, and one patch each."""
    unet = TABLE["unet"]
    with torch.device("meta"):
        plain = cost(networks.create("unet"), 30).multiply_adds
    channels = [(30, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 1024)]
    channels += [
        (1024, 1024),
        (128, 64),
        (64, 64),
        (256, 128),
        (128, 128),
        (512, 256),
        (256, 256),
        (1024, 512),
        (512, 512),
    ]
    maps = sum(64 * 2 * cin * c for cin, c in channels)
    attention = sum(64 * 2 * c * c // 8 for _, c in channels)  # W2, 2d -> d for each of 8 heads
    distances = sum(64 * 64 * cin for cin, _ in channels)
    dense = sum(4 * 64 * 64 * c for _, c in channels)  # two spreads, cross-entropy, cosine
    patches = sum(c * (128 * 64 // c) ** 2 for _, c in channels)
    found = cost(on_meta(), 30).multiply_adds
    assert (unet[1], found) == (12.3, plain + maps + attention + distances + dense + patches)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: nn.Conv2d(3, 8, 3, padding=1, bias=False), Cost(216, 216 + 8 * 16, 216 * 16)),
        (lambda: nn.Conv2d(4, 8, 1, groups=2), Cost(24, 32 + 8 * 16, 16 * 16)),
        (lambda: nn.ConvTranspose2d(3, 2, 2, stride=2), Cost(26, 24 + 2 * 64, 24 * 16)),
    ],
)
def test_a_layer_costs_what_a_hand_counts(layer, expected):
    layer = layer()
    assert cost(layer, layer.in_channels, side=4) == expected


def test_counting_leaves_the_network_as_it_was():
    net = networks.create("unet", 3, width=4).train()
    before = {key: one.clone() for key, one in net.state_dict().items()}
    cost(net, 3, side=32)
    assert net.training
    torch.testing.assert_close(dict(net.state_dict()), before)


@pytest.fixture
def few(monkeypatch):
    """Leave one network of each kind to be counted."""
    monkeypatch.setattr(networks, "names", lambda: ("unet", "cdcnn", "dp-fcn"))


@pytest.mark.usefixtures("few")
def test_networks_of_two_dates_are_not_counted_where_their_bands_are_nodata():
    rows = {row["network"]: row for row in table(13)}
    assert rows["cdcnn"]["parameters"] is None
    with torch.device("meta"):
        assert rows["unet"]["parameters"] == networks.parameter_count(networks.create("unet", 13))


@pytest.mark.usefixtures("few")
def test_named_bands_tell_the_dates_apart():
    ndvi = [Band(f"ndvi_{date}", date=date, quantity="ndvi") for date in ("pre", "post")]
    rows = {row["network"]: row for row in table(inputs=[*ndvi, Band("slope")])}
    with torch.device("meta"):
        expected = networks.create("dp-fcn", 3, pre=[0], post=[1])
    assert rows["dp-fcn"]["parameters"] == networks.parameter_count(expected)


@pytest.mark.usefixtures("few")
def test_bands_of_one_date_leave_the_networks_of_two_without_numbers():
    rows = {row["network"]: row for row in table(inputs=[Band("slope"), Band("elevation")])}
    assert [name for name, row in rows.items() if row["parameters"] is None] == ["cdcnn", "dp-fcn"]


def test_counting_leaves_every_module_in_its_mode():
    net = networks.create("unet", 3, width=4).train()
    net.encoder[0].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(ValueError, match="multiples of 16"):
        cost(net, 3, side=40)
    assert [module.training for module in net.modules()] == before
