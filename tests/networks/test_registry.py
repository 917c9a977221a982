"""Networks by name, and what the user is told when a name or an option is wrong."""

import subprocess
import sys

import pytest
import torch

from coslide import networks
from coslide.cube.band import Band
from coslide.errors import InputError


def test_the_papers_network_is_the_default_and_has_its_parameters():
    with torch.device("meta"):
        assert networks.parameter_count(networks.create("egcn")) == 38_347_526


def test_a_shared_parameter_is_counted_once():
    layer = torch.nn.Linear(3, 3, bias=False)
    assert networks.parameter_count(torch.nn.Sequential(layer, layer)) == 9


def test_the_papers_seven_comparison_networks_and_its_two_swaps_are_there():
    swaps, seven = {"egcn-msa", "egcn-esa"}, {"unet", "acmix-unet", "fcn-pp", "deepunet", "cdcnn", "dp-fcn", "landsnet"}
    assert swaps | seven < set(networks.names())


def test_the_networks_that_could_not_be_read_are_called_reconstructions():
    marked = {name for name in networks.names() if networks.spec(name).reconstruction.startswith("reconstruction")}
    assert marked == {"cdcnn", "dp-fcn", "landsnet"}


def test_the_wide_form_is_a_name_of_its_own():
    with torch.device("meta"):
        wide = networks.create("fcn-pp", wide=True)
        assert networks.parameter_count(networks.create("fcn-pp-wide")) == networks.parameter_count(wide)


def test_what_a_name_stands_for_is_no_option_of_it():
    with pytest.raises(InputError, match="network fcn-pp-wide: unknown option wide"):
        networks.create("fcn-pp-wide", wide=False)


@pytest.mark.parametrize("ask", [networks.create, networks.spec, lambda name: networks.date_options(name, [])])
def test_an_unknown_network_is_refused_with_the_names_there_are(ask):
    with pytest.raises(InputError, match=r"^network segnet: unknown; expected one of egcn, egcn-msa"):
        ask("segnet")


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(InputError, match=r"^network egcn: unknown option depth; expected one of width, up_mode"):
        networks.create("egcn", depth=3)


@pytest.mark.parametrize(
    ("name", "option", "text"),
    [
        ("egcn", {"width": "wide"}, "option width: found 'wide', expected a valid integer"),
        ("egcn", {"k": 8.0}, "option k: found 8.0, expected a valid integer"),
        ("egcn", {"heads": True}, "option heads: found True"),
        ("egcn", {"include_self": 1}, "option include_self: found 1, expected a valid boolean"),
        (
            "egcn",
            {"up_mode": "cubic"},
            "option up_mode: found 'cubic', expected 'depthwise', 'grouped'",
        ),
        ("egcn", {"down_mode": "max"}, "option down_mode: found 'max'"),
        ("egcn", {"eic_norm": "max"}, "option eic_norm: found 'max'"),
        (
            "egcn",
            {"select_factor": 2},
            "option select_factor: found 2, expected less than or equal to 1",
        ),
        ("unet", {"norm": "ln"}, "option norm: found 'ln'"),
        ("unet", {"activation": "tanh"}, "option activation: found 'tanh'"),
        ("deepunet", {"depth": 0}, "option depth: found 0"),
        ("egcn-msa", {"window": 1}, "option window: found 1"),
        ("acmix-unet", {"attention_rate": float("nan")}, "option attention_rate: found nan"),
        ("fcn-pp", {"bins": []}, "option bins: found"),
        ("fcn-pp", {"bins": [2, 0]}, "option bins.1: found 0"),
        ("fcn-pp", {"bins": [True]}, "option bins.0: found True"),
        ("fcn-pp", {"bins": "236"}, "option bins: found '236'"),
        ("cdcnn", {"static": "pre"}, "option static: found 'pre', expected 'both' or 'none'"),
        ("cdcnn", {"pre": "01"}, "option pre"),
        ("cdcnn", {"pre": [0.0]}, "option pre.0: found 0.0"),
        ("egcn-esa", {"reductions": [8, 4, 2, 1.0, 1]}, "option reductions.3: found 1.0"),
        ("egcn-esa", {"reductions": 8}, "option reductions: found 8"),
        ("cdcnn", {"pre": [0]}, "network cdcnn: post: found None"),
    ],
    ids=str,
)
def test_an_option_of_the_wrong_type_or_value_is_refused(name, option, text):
    with pytest.raises(InputError, match=text):
        networks.create(name, **option)


@pytest.mark.parametrize("name", networks.names())
def test_a_width_of_nothing_is_refused(name):
    with pytest.raises(InputError, match="option width: found 0, expected greater than 0"):
        networks.create(name, width=0)


def test_a_whole_number_may_stand_for_a_decimal_one():
    net = networks.create("egcn", bands=4, width=8, select_factor=1)
    assert net.encoder[0][0][0].branch.eisgnn.options.select_factor == 1


def test_a_value_the_network_refuses_is_the_users_error():
    with pytest.raises(InputError, match=r"^network egcn: .*multiple of heads, found 12 and 8"):
        networks.create("egcn", width=12)


@pytest.mark.parametrize("sizes", [{"bands": 0}, {"classes": 1}])
def test_a_network_without_bands_or_choice_is_refused(sizes):
    with pytest.raises(InputError, match="expected at least 1 and 2"):
        networks.create("egcn", **sizes)


def test_networks_that_compare_two_dates_are_told_which_bands_are_which():
    dates = [Band(f"ndvi_{date}", date=date, quantity="ndvi") for date in ("post", "pre")]
    assert networks.date_options("dp-fcn", [*dates, Band("slope")]) == {"pre": [1], "post": [0]}


def test_networks_that_compare_two_dates_refuse_bands_of_one():
    with pytest.raises(InputError, match=r"^network cdcnn: .*needs bands before and after the event.*found slope"):
        networks.date_options("cdcnn", [Band("slope")])


def test_importing_the_package_does_not_import_torch():
    code = "import sys, coslide.networks; coslide.networks.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
