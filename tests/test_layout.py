"""The rules of the house that a machine can check."""

import ast
import collections
import importlib.metadata
import importlib.util
import inspect
import re
import subprocess
from pathlib import Path

import pytest
import torch

import coslide
from coslide.networks import acmix, graph, kernels, neighbourhood

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "coslide"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Arrows go from left to right: a room may import from those before it, never from those after.
ROOMS = [
    "errors", "environment", "labels", "progress", "memory", "crs", "grid", "windows", "io", "display", "config",
    "sources", "cube", "indices", "acquisition", "simulate", "samples", "networks", "training", "evaluation", "mapping",
    "report", "pipeline", "terminal", "tables", "next_steps", "options", "starting", "fetching", "studies", "bundles",
    "cli",
]  # fmt: skip
COMMANDS = {"cli.py", "fetching.py", "starting.py", "studies.py", "bundles.py"}
NO_TORCH = (
    "io", "sources", "cube", "indices", "acquisition", "simulate", "evaluation", "samples/split", "samples/footprint",
     "samples/encode", "samples/light", "samples/augment",
)  # fmt: skip


def imports_of(path):
    """Return the modules that a file imports at run time, not those for type checking only."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def names_in(node):
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def room_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def functions():
    """Yield (module, function) for every function and method, but not for functions inside functions."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        for owner in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
            yield from ((path, node) for node in owner.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name != "__init__.py"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_go_with_the_flow_of_data(path):
    here = ROOMS.index(room_of(path))
    rooms = [name.split(".")[1] for name in imports_of(path) if name.startswith("coslide.")]
    assert [room for room in rooms if room in ROOMS and ROOMS.index(room) > here] == []


def test_what_is_drawn_asks_the_public_interface_for_the_report_and_only_when_it_is_drawn():
    """The one arrow back: `coslide.drawing`, inside methods; all else are facts of the package."""
    asked = {}
    for path in (path for path in MODULES if "import coslide\n" in path.read_text()):
        tree = ast.parse(path.read_text())
        inside = {id(one) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for one in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "coslide":
                name = node.attr if node.attr != "drawing" or id(node) in inside else "drawing, at import"
                asked.setdefault(name, set()).add(str(path.relative_to(PACKAGE)))
    assert asked.pop("drawing") == {"cube/cube.py", "mapping/probability_map.py", "evaluation/scores.py"}
    assert {name for name, where in asked.items() if not where <= COMMANDS} == {"__file__", "__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_torch_stays_out_of_the_rooms_that_do_not_need_it(path):
    if str(path.relative_to(PACKAGE)).startswith(NO_TORCH):
        assert [name for name in imports_of(path) if name.split(".")[0] in {"torch", "lightning"}] == []


def test_what_numba_keeps_on_the_disk_takes_nothing_from_other_files():
    """Its cache sees that the file of a function has changed, and not that one has from which a name was taken."""
    taken = []
    for path in MODULES:
        body = ast.parse(path.read_text()).body
        other = {
            alias.asname or alias.name
            for one in body
            if isinstance(one, ast.ImportFrom) and (one.module or "").startswith("coslide")
            for alias in one.names
        }
        compilers = {"njit"}
        for one in body:
            if isinstance(one, ast.Assign):
                targets = {name for target in one.targets for name in names_in(target)}
                other |= targets if names_in(one.value) & other else set()
                compilers |= targets if "njit" in names_in(one.value) else set()
        for one in body:
            if isinstance(one, ast.FunctionDef) and any(names_in(how) & compilers for how in one.decorator_list):
                taken += [(path.name, one.name, name) for line in one.body for name in names_in(line) & other]
    assert taken == []


def test_the_numbers_that_compiled_loops_keep_for_themselves_are_those_of_their_layers():
    assert kernels._SEARCHED == graph.SEARCHED
    assert neighbourhood._KERNEL == acmix.KERNEL
    assert inspect.getsource(kernels._exp.py_func) == inspect.getsource(neighbourhood._exp.py_func)


def test_every_room_has_its_place_in_the_flow():
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(ROOMS)


def test_no_module_is_longer_than_500_lines():
    assert [str(path) for path in MODULES if len(path.read_text().splitlines()) > 500] == []


def test_no_function_body_is_longer_than_60_lines():
    long = []
    for path, node in functions():
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if body and body[-1].end_lineno - body[0].lineno + 1 > 60:
            long.append(f"{path}:{node.name}")
    assert long == []


def test_no_public_name_is_without_a_docstring():
    bare = [
        f"{path}:{node.name}"
        for path, node in functions()
        if not node.name.startswith("_") and not ast.get_docstring(node)
        if "overload" not in {name for how in node.decorator_list for name in names_in(how)}
    ]
    assert bare == []


@pytest.mark.parametrize("name", ["torchvision", "timm", "segmentation_models_pytorch", "torchgeo"])
def test_libraries_that_break_this_torch_are_not_installed(name):
    """R40."""
    assert importlib.util.find_spec(name) is None


def test_a_cpu_build_of_torch_comes_without_gpu_libraries():
    """R40: nothing that is asked for drags in gigabytes of CUDA or Triton."""
    if torch.version.cuda is None:
        names = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
        assert [name for name in names if name == "triton" or name.startswith("nvidia-")] == []


def test_nothing_in_the_repository_is_large_or_real_data():
    """Figures may be committed, data may not."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    files = [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]
    assert [str(f) for f in files if f.stat().st_size > 20 * 2**20] == []
    data = {".tif", ".gpkg", ".h5", ".nc", ".grd", ".zarr", ".safetensors", ".ckpt"}
    models = [f for f in files if f.is_relative_to(PACKAGE / "models")]  # as tools/ship_model.py writes them
    assert [str(f) for f in files if f.suffix in data and f not in models] == []
    assert {f.suffix for f in models} <= {".safetensors", ".json", ".md"}
    assert sum(f.stat().st_size for f in models) <= 20e6


def test_every_requirement_that_a_test_names_has_its_line():
    page = (ROOT / "docs" / "requirements.md").read_text()
    listed = set(re.findall(r"^\| (R\d+) \|", page, re.MULTILINE))
    named = {
        number
        for path in (ROOT / "tests").rglob("test_*.py")
        for number in re.findall(r'"""(R\d+)\b', path.read_text())
    }
    assert named - listed == set()


def test_no_public_name_is_used_by_tests_alone():
    """A function or class without a caller is machinery; the public interface is `coslide.__all__`."""
    used = collections.Counter(
        word for path in MODULES for word in re.findall(r"[A-Za-z_]\w*", _without_docstrings(path.read_text()))
    )
    commands = {node.name for path, node in functions() if path.name in COMMANDS}
    unused = [
        f"{path.relative_to(PACKAGE)}:{node.name}"
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and node.name not in commands | set(coslide.__all__)
        and used[node.name] < 2
    ]
    assert unused == []


def _without_docstrings(text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)
