"""The algorithms: one for each command of coslide that goes from files to files."""

from pathlib import Path
from typing import ClassVar

from qgis.core import (
    QgsMapLayerType,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputFile,
    QgsProcessingOutputHtml,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)
from qgis.PyQt.QtGui import QIcon

from coslide_qgis.command import run_coslide


class _Algorithm(QgsProcessingAlgorithm):
    """What the algorithms have in common; a subclass says its name, what it does, and how."""

    command: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]

    def createInstance(self):
        return type(self)()

    def name(self):
        return self.command

    def displayName(self):
        return self.title

    def shortHelpString(self):
        return self.about

    def icon(self):
        return QIcon(str(Path(__file__).with_name("icon.svg")))


class Build(_Algorithm):
    """The index cube of an event."""

    command = "build"
    title = "Build index cube"
    about = (
        "Builds the index cube of an earthquake: scenes, terrain, shaking, faults and the rest on one grid. "
        "What is there already and has not changed is kept; a build that was cancelled goes on where it was."
    )

    def initAlgorithm(self, configuration=None):
        """Say what is asked for."""
        self.addParameter(QgsProcessingParameterFile("EVENT", "Event file", extension="toml"))
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Index cube (folder, such as index.zarr)"))

    def processAlgorithm(self, parameters, context, feedback):
        """Build it."""
        event = self.parameterAsFile(parameters, "EVENT", context)
        out = self.parameterAsString(parameters, "OUTPUT", context)
        run_coslide(["build", "--out", out, "--", event], feedback)
        return {"OUTPUT": out}


class Map(_Algorithm):
    """The landslides of a scene."""

    command = "map"
    title = "Map landslides"
    about = (
        "Maps landslides by a trained model: their probability, and polygons with size, shape and terrain. "
        "Without a model, coslide takes the one of its own that fits the cube best. "
        "landslides.qgz in the folder shows all of it over the scenes."
    )

    def initAlgorithm(self, configuration=None):
        """Say what is asked for, and what comes of it."""
        folder = QgsProcessingParameterFile.Folder
        self.addParameter(QgsProcessingParameterFile("INDEX", "Index cube", behavior=folder))
        model = "Model: folder of a bundle, or a name (empty: the one that fits)"
        self.addParameter(QgsProcessingParameterString("MODEL", model, "", optional=True))
        area = QgsProcessingParameterNumber("MIN_AREA_M2", "Leave out landslides smaller than [m²]", defaultValue=0)
        area.setMinimum(0)
        self.addParameter(area)
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Folder of the map"))
        self.addOutput(QgsProcessingOutputVectorLayer("LANDSLIDES", "Landslides"))
        self.addOutput(QgsProcessingOutputRasterLayer("PROBABILITY", "Landslide probability"))
        self.addOutput(QgsProcessingOutputFile("PROJECT", "Project of QGIS"))

    def processAlgorithm(self, parameters, context, feedback):
        """Map them."""
        index = self.parameterAsFile(parameters, "INDEX", context)
        model = self.parameterAsString(parameters, "MODEL", context)
        area_m2 = self.parameterAsDouble(parameters, "MIN_AREA_M2", context)
        out = self.parameterAsString(parameters, "OUTPUT", context)
        given = [model, index] if model else [index]
        run_coslide(["map", "--out", out, "--min-area-m2", f"{area_m2:g}", "--", *given], feedback)
        made = {
            "PROBABILITY": str(Path(out, "probability.tif")),
            "LANDSLIDES": f"{Path(out, 'landslides.gpkg')}|layername=landslides",
        }
        _Styled.alive = [_Styled() for _ in made]
        for (output, source), styled in zip(made.items(), _Styled.alive):
            title = self.outputDefinition(output).description()
            details = QgsProcessingContext.LayerDetails(title, context.project(), output)
            details.setPostProcessor(styled)
            context.addLayerToLoadOnCompletion(source, details)
        return {"OUTPUT": out, **made, "PROJECT": str(Path(out, "landslides.qgz"))}


class Report(_Algorithm):
    """The report of a run."""

    command = "report"
    title = "Write report"
    about = "Writes report.html into the folder of a map: one page with all that is known of it, for a browser."

    def initAlgorithm(self, configuration=None):
        """Say what is asked for, and what comes of it."""
        folder = QgsProcessingParameterFile.Folder
        self.addParameter(QgsProcessingParameterFile("FOLDER", "Folder of a map or run", behavior=folder))
        self.addOutput(QgsProcessingOutputHtml("REPORT", "Report"))

    def processAlgorithm(self, parameters, context, feedback):
        """Write it."""
        folder = self.parameterAsFile(parameters, "FOLDER", context)
        run_coslide(["report", "--", folder], feedback)
        return {"REPORT": str(Path(folder, "report.html"))}


class _Styled(QgsProcessingLayerPostProcessorInterface):
    """Draws a layer as coslide says beside its file or in it, which Processing would not do."""

    alive: ClassVar[list] = []  # QGIS keeps no hold of them

    def postProcessLayer(self, layer, context, feedback):
        layer.loadDefaultStyle()
        layer.triggerRepaint()
        if layer.type() == QgsMapLayerType.RasterLayer:  # QGIS adds it after the landslides, and so above them
            node = context.project().layerTreeRoot().findLayer(layer.id())
            group = node.parent()
            group.insertChildNode(group.children().index(node) + 2, node.clone())
            group.removeChildNode(node)
