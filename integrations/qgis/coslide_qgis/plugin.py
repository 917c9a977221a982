"""The plugin, which adds the provider to Processing and takes it away again."""

from qgis.core import QgsApplication

from coslide_qgis.provider import CoslideProvider


class CoslidePlugin:
    """The plugin as QGIS knows it."""

    def __init__(self):
        self.provider = None

    def initProcessing(self):
        """Add the algorithms to Processing; all that QGIS calls where it has no windows."""
        self.provider = CoslideProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        """Do the same where it has."""
        self.initProcessing()

    def unload(self):
        """Take the algorithms away."""
        QgsApplication.processingRegistry().removeProvider(self.provider)
