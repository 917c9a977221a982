"""The provider: a group of algorithms in the Processing toolbox, and its one setting."""

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from coslide_qgis.algorithms import Build, Map, Report
from coslide_qgis.command import EXECUTABLE

_ICON = Path(__file__).with_name("icon.svg")


class CoslideProvider(QgsProcessingProvider):
    """coslide in the Processing toolbox."""

    def id(self):
        """Give the first part of the names of algorithms: coslide_qgis:map."""
        return "coslide_qgis"

    def name(self):
        """Give the name for people."""
        return "coslide"

    def icon(self):
        """Give the icon."""
        return QIcon(str(_ICON))

    def load(self):
        """Add the setting (Settings > Options > Processing > Providers > coslide), then the algorithms."""
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        about = "The program coslide (empty: where PATH finds it)"
        ProcessingConfig.addSetting(Setting(self.name(), EXECUTABLE, about, "", valuetype=Setting.FILE))
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self):
        """Take the setting away."""
        ProcessingConfig.removeSetting(EXECUTABLE)

    def loadAlgorithms(self):
        """Add the algorithms."""
        for algorithm in (Build, Map, Report):
            self.addAlgorithm(algorithm())
