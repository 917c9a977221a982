"""Which bands come and go together: those of a source that an event may lack."""

from collections.abc import Sequence

# The scene after the event and the DEM are required, so nothing of them is ever missing.
_OPTIONAL = {
    "scene_before": ("reflectance_pre_", "ndvi_pre", "ndvi_difference", "pre_available"),
    "geology": ("stratum",),
    "rain": ("rainfall",),
    "shaking": ("pga",),
    "faults": ("fault",),
}


def band_groups(names: Sequence[str]) -> dict[str, list[int]]:
    """Find the numbers of the bands that come from each source which an event may lack.

    Parameters
    ----------
    names
        Names of the bands, in order.

    Examples
    --------
    >>> band_groups(["reflectance_pre_B2", "slope", "pga_class", "ndvi_pre"])
    {'scene_before': [0, 3], 'shaking': [2]}
    """
    groups = {
        source: [i for i, name in enumerate(names) if name.startswith(starts)] for source, starts in _OPTIONAL.items()
    }
    return {source: numbers for source, numbers in groups.items() if numbers}
