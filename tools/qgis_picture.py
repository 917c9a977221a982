"""Draw a project of QGIS as QGIS does, and say what it holds: ``/usr/bin/python3 tools/qgis_picture.py PROJECT PNG``.

For a Python that has QGIS (Debian: python3-qgis). What is printed is JSON: of each layer, from above, its name, whether
it can be read, is shown, and how it is drawn.
"""

import json
import os
import sys

from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsProject
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

WIDTH_PX = 900


def main(path: str, picture: str, *shown: str) -> None:
    """Draw what is shown when the project is opened, or layers by their names."""
    project = QgsProject.instance()
    if not project.read(path):
        sys.exit(f"{path}: cannot be read: {project.error()}")
    root = project.layerTreeRoot()
    nodes = [root.findLayer(layer) for layer in root.layerOrder()]
    drawn = [one.layer() for one in nodes if (one.name() in shown if shown else one.isVisible())]
    bounds = project.viewSettings().defaultViewExtent()
    settings = QgsMapSettings()
    settings.setLayers(drawn)
    settings.setDestinationCrs(project.crs())
    settings.setExtent(bounds)
    settings.setOutputSize(QSize(WIDTH_PX, round(WIDTH_PX * bounds.height() / bounds.width())))
    settings.setOutputDpi(120)
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(picture)
    layers = [
        {
            "name": node.name(),
            "group": node.parent().name(),
            "valid": node.layer().isValid(),
            "crs": node.layer().crs().authid(),
            "about": node.layer().abstract(),
            "shown": node.isVisible(),
            "labels": hasattr(node.layer(), "labelsEnabled") and node.layer().labelsEnabled(),
            "renderer": node.layer().renderer().type(),
            "source": node.layer().source(),
        }
        for node in nodes
    ]
    errors = [error.message for error in job.errors()]
    view = [bounds.xMinimum(), bounds.yMinimum(), bounds.xMaximum(), bounds.yMaximum()]
    found = {"title": project.title(), "crs": project.crs().authid(), "view": view, "layers": layers, "errors": errors}
    print(json.dumps(found), flush=True)


os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
application = QgsApplication([], False)
application.initQgis()
main(*sys.argv[1:])
os._exit(0)  # the end of QGIS crashes where layers are alive
