"""Networks by name, and what the user is told when a name or an option is wrong."""

import subprocess
import sys

import pytest
import torch

from coslide import networks
from coslide.errors import InputError


@pytest.mark.parametrize("name", networks.names())
def test_every_name_makes_a_network_of_the_asked_bands_and_classes(name):
    net = networks.create(name, bands=4, classes=3, width=16)
    assert net(torch.zeros(1, 4, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("name", networks.names())
def test_every_network_names_the_multiple_its_sizes_must_have(name):
    assert 128 % networks.create(name, bands=4, width=8).size_multiple == 0


def test_the_papers_network_is_the_default_and_has_its_parameters():
    with torch.device("meta"):
        assert networks.parameter_count(networks.create("egcn")) == 38_347_526


def test_a_shared_parameter_is_counted_once():
    layer = torch.nn.Linear(3, 3, bias=False)
    assert networks.parameter_count(torch.nn.Sequential(layer, layer)) == 9


def test_an_unknown_network_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"^network segnet: unknown; expected one of egcn"):
        networks.create("segnet")


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(InputError, match=r"^network egcn: unknown option depth; expected one of width, heads"):
        networks.create("egcn", depth=3)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"width": "wide"}, "option width: found 'wide'; expected int"),
        ({"k": 8.0}, "option k: found 8.0; expected int"),
        ({"heads": True}, "option heads: found True; expected int"),
        ({"include_self": 1}, "option include_self: found 1; expected bool"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(option, text):
    with pytest.raises(InputError, match=text):
        networks.create("egcn", **option)


def test_a_whole_number_may_stand_for_a_decimal_one():
    net = networks.create("egcn", bands=4, width=8, select_factor=1)
    assert net.encoder[0][0][0].branch.eisgnn.select_factor == 1


def test_a_value_the_network_refuses_is_the_users_error():
    with pytest.raises(InputError, match=r"^network egcn: .*multiple of heads, found 12 and 8"):
        networks.create("egcn", width=12)


@pytest.mark.parametrize("sizes", [{"bands": 0}, {"classes": 1}])
def test_a_network_without_bands_or_choice_is_refused(sizes):
    with pytest.raises(InputError, match="expected at least 1 and 2"):
        networks.create("egcn", **sizes)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, coslide.networks; coslide.networks.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
