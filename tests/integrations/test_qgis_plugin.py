"""The plugin of QGIS: packed, installed and run in the real program, with the real command line in another process."""

import ast
import configparser
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import coslide

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "integrations" / "qgis" / "coslide_qgis"

# As the plugin manager does: unpack into the profile, load by name, start; then as someone in the toolbox does.
SCRIPT = """
import json, os, sys, threading, time
from pathlib import Path
from qgis.core import *
application = QgsApplication([], False)
application.initQgis()
sys.path += [str(Path(QgsApplication.pkgDataPath(), "python", *more)) for more in ([], ["plugins"])]
import qgis.utils
from processing.core.Processing import Processing
from processing.core.ProcessingConfig import ProcessingConfig
from processing.gui.Postprocessing import handleAlgorithmResults
packed, plugins, program, fake, event, model, out = sys.argv[1:]
Processing.initialize()
from pyplugin_installer.unzip import unzip
unzip(packed, plugins)
sys.path.append(plugins)
qgis.utils.plugin_paths.append(plugins)
qgis.utils.updateAvailablePlugins()
assert "coslide_qgis" in qgis.utils.available_plugins, qgis.utils.available_plugins
assert qgis.utils.loadPlugin("coslide_qgis") and qgis.utils.startProcessingPlugin("coslide_qgis")
registry = QgsApplication.processingRegistry()
found = {"algorithms": sorted(one.id() for one in registry.providerById("coslide_qgis").algorithms())}

class Feedback(QgsProcessingFeedback):
    def __init__(self):
        super().__init__(False)
        self.said, self.seen = [], []
        self.progressChanged.connect(lambda share: self.seen.append(share))
    def pushInfo(self, text):
        self.said.append(text)
    def setProgressText(self, text):
        self.said.append("now: " + text)

def carry_out(name, feedback=None, **parameters):
    algorithm, feedback = registry.createAlgorithmById("coslide_qgis:" + name), feedback or Feedback()
    project, context = QgsProject(), QgsProcessingContext()
    context.setProject(project)
    right, words = algorithm.checkParameterValues(parameters, context)
    assert right, words
    answer = {"said": feedback.said, "progress": feedback.seen}
    try:
        answer["results"] = algorithm.run(parameters, context, feedback, catchExceptions=False)[0]
        assert handleAlgorithmResults(algorithm, context, feedback)
        layers = project.layerTreeRoot().layerOrder()
        answer["layers"] = [[one.name(), one.isValid(), one.renderer().type()] for one in layers]
    except QgsProcessingException as error:
        answer["error"] = str(error)
    return answer

os.environ["PATH"] = str(Path(program).parent)
found["on the path"] = carry_out("build", EVENT=event, OUTPUT=out + "/index.zarr")
os.environ["PATH"] = ""
found["nowhere"] = carry_out("report", FOLDER=out)
ProcessingConfig.setSettingValue("COSLIDE_EXECUTABLE", program)
found["map"] = carry_out("map", INDEX=out + "/index.zarr", MODEL=model, MIN_AREA_M2=200, OUTPUT=out)
found["report"] = carry_out("report", FOLDER=out)
found["wrong"] = carry_out("map", INDEX=out, OUTPUT=out + "/other")
os.environ["PATH"] = "/usr/bin:/bin"
ProcessingConfig.setSettingValue("COSLIDE_EXECUTABLE", fake)
feedback = Feedback()
threading.Timer(1.5, feedback.cancel).start()
started = time.monotonic()
found["cancelled"] = carry_out("report", feedback, FOLDER=out)
found["cancelled"]["after_s"] = time.monotonic() - started
found["loaded"] = sorted({"torch", "coslide"} & set(sys.modules))
print(json.dumps(found), flush=True)
os._exit(0)
"""
FAKE = """#!/bin/sh
echo "step: mapping: 40 %, about 1 min left"
echo "scenes: 60 % of the pixels are valid" >&2
echo "/a: 0.0 % of it"
sleep 600 &
echo $$ $! > "{pids}"
wait
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    made = [run_pack(folder / name) for name in ("a", "b")]
    assert made[0].read_bytes() == made[1].read_bytes()
    return made[0]


def run_pack(folder):
    command = [sys.executable, ROOT / "tools" / "pack_qgis.py", folder]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())  # noqa: S603


def test_the_plugin_is_packed_as_the_plugin_manager_wants_it(packed):
    assert packed.name == f"coslide_qgis-{coslide.__version__}.zip"
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        metadata = configparser.ConfigParser()
        metadata.read_string(archive.read("coslide_qgis/metadata.txt").decode())
        assert archive.read("coslide_qgis/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert {name.partition("/")[0] for name in names} == {"coslide_qgis"}
    assert {"coslide_qgis/__init__.py", "coslide_qgis/icon.svg"} < set(names)
    assert not [name for name in names if "__pycache__" in name]
    about = metadata["general"]
    assert about["version"] == coslide.__version__
    assert about["qgisminimumversion"] == "3.22"
    assert about["hasprocessingprovider"] == "yes"


@pytest.mark.parametrize("path", sorted(PLUGIN.glob("*.py")), ids=lambda path: path.name)
def test_the_plugin_is_python_3_9_and_imports_neither_coslide_nor_torch(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name.partition(".")[0] in {"coslide", "torch"}}
    assert ours == set()


@pytest.fixture(scope="module")
def found(in_qgis, packed, made_up_event, made_up_model, tmp_path_factory):
    """What QGIS says of the algorithms, and the folder that they wrote to."""
    folder = tmp_path_factory.mktemp("plugin")
    program, fake, pids = folder / "bin" / "coslide", folder / "fake", folder / "pids"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT / "src"}" exec "{sys.executable}" -m coslide.cli "$@"\n')
    fake.write_text(FAKE.format(pids=pids))
    for path in (program, fake):
        path.chmod(0o755)
    (folder / "out").mkdir()
    places = (folder / "plugins", program, fake, made_up_event, made_up_model, folder / "out")
    answers = in_qgis(SCRIPT, packed, *places)
    (folder / "answers.json").write_text(json.dumps(answers, indent=2))
    return answers, folder


@pytest.mark.slow
def test_qgis_lists_the_algorithms_of_the_plugin(found):
    assert found[0]["algorithms"] == ["coslide_qgis:build", "coslide_qgis:map", "coslide_qgis:report"]
    assert found[0]["loaded"] == []


@pytest.mark.slow
def test_build_map_and_report_run_the_installed_coslide(found):
    answers, folder = found
    out = folder / "out"
    assert (out / "index.zarr" / ".zattrs").is_file()
    assert any("grid: " in line for line in answers["on the path"]["said"])
    assert answers["map"]["results"]["PROJECT"] == str(out / "landslides.qgz")
    assert json.loads((out / "summary.json").read_text())["min_area_m2"] == 200
    assert answers["report"]["results"] == {"REPORT": str(out / "report.html")}
    assert (out / "report.html").is_file()
    assert all(answers[name]["progress"][-1] == 100 for name in ("on the path", "map", "report"))


@pytest.mark.slow
def test_what_was_mapped_is_loaded_and_drawn_as_coslide_draws_it(found):
    assert found[0]["map"]["layers"] == [  # from above
        ["Landslides", True, "graduatedSymbol"],
        ["Landslide probability", True, "singlebandpseudocolor"],
    ]


@pytest.mark.slow
def test_errors_are_the_one_line_that_coslide_says(found):
    answers, folder = found
    assert answers["wrong"]["error"].startswith(f"coslide: {folder / 'out'}: is no index cube")
    assert answers["nowhere"]["error"].startswith("coslide is not found; install it")


@pytest.mark.slow
def test_progress_is_read_from_lines_and_cancelling_ends_all_processes(found):
    answers, folder = found
    cancelled = answers["cancelled"]
    assert cancelled["error"] == "cancelled"
    assert cancelled["said"] == ["now: step: mapping", "scenes: 60 % of the pixels are valid", "/a: 0.0 % of it"]
    assert cancelled["progress"] == [40]
    assert cancelled["after_s"] < 15
    for number in (folder / "pids").read_text().split():
        stat = Path("/proc", number, "stat")
        assert not stat.exists() or stat.read_text().split()[2] == "Z"
