"""coslide in QGIS: the algorithms build, map and report, carried out by an installed coslide."""


def classFactory(iface):
    """Make the plugin, as QGIS asks for it."""
    from coslide_qgis.plugin import CoslidePlugin

    return CoslidePlugin()
