"""The sets of indices that Yang et al. (2023) compare in their Table 6, as bands of a cube."""

from collections.abc import Sequence

from coslide.cube.band import Band

_REFLECTANCE = ("reflectance_pre", "reflectance_post")
_NDVI = ("ndvi_pre", "ndvi_post")

INDEX_SETS: dict[str, tuple[str, ...]] = {
    "a": _REFLECTANCE,
    "b": (*_REFLECTANCE, "slope", "mean_curvature", "aspect_class"),
    "c": (*_REFLECTANCE, *_NDVI, "slope", "mean_curvature", "aspect_class"),
    "d": (
        *_REFLECTANCE, *_NDVI, "stratum_class", "elevation", "slope", "mean_curvature", "rainfall", "aspect_class",
        "pga_class", "fault_distance_class",
    ),
}  # fmt: skip
"""Variables of each set in the order of the network's bands: 20, 23, 25 and 30 bands with ten per scene.

(a) reflectance before and after the event; (b) with slope, curvature and aspect; (c) with NDVI too; (d) all. The order
is the one that `coslide.networks.dates.date_bands` takes 30 bands to have.
"""

# What an event file may choose, each beside or instead of those before it.
_STANDS_FOR = {"ndvi_difference": _NDVI, "esri_curvature": ("mean_curvature",)}


def index_set(chosen: str | Sequence[str], bands: Sequence[Band]) -> list[Band]:
    """Pick the bands of a set, in the set's order, as far as the cube has them; units are those of the bands.

    Parameters
    ----------
    chosen
        ``"a"``, ``"b"``, ``"c"`` or ``"d"``, the keys of `INDEX_SETS`; or names of indices or of their bands.
    bands
        Bands of the cube.

    Returns
    -------
    list of Band
        `missing_indices` lists what the cube lacks. What an event file may choose instead counts as well:
        ``esri_curvature`` for mean curvature, and ``ndvi_difference``, which follows the NDVI of the dates.
        Diagnostics and ``pre_available`` are in no set.

    Examples
    --------
    >>> bands = [Band(f"reflectance_{date}_B2", channel="B2") for date in ("post", "pre")] + [Band("slope", "degree")]
    >>> [band.name for band in index_set("b", bands)]
    ['reflectance_pre_B2', 'reflectance_post_B2', 'slope']
    >>> [band.name for band in index_set(["slope", "reflectance_post"], bands)]
    ['slope', 'reflectance_post_B2']
    """
    order = list(INDEX_SETS[chosen] if isinstance(chosen, str) else chosen)
    for other, indices in _STANDS_FOR.items() if isinstance(chosen, str) else ():
        if indices[-1] in order:
            order.insert(order.index(indices[-1]) + 1, other)
    found = [band for index in order for band in bands if index in (band.variable, band.name)]
    return list(dict.fromkeys(found))


def missing_indices(chosen: str | Sequence[str], bands: Sequence[Band]) -> list[str]:
    """List the indices of a set that no band of the cube stands for; parameters as `index_set`.

    Examples
    --------
    >>> bands = [Band("reflectance_post_B2", channel="B2"), Band("ndvi_difference"), Band("slope", "degree")]
    >>> missing_indices("c", bands)
    ['reflectance_pre', 'mean_curvature', 'aspect_class']
    """
    if not isinstance(chosen, str):
        return [index for index in chosen if not index_set([index], bands)]
    found = {band.variable for band in bands}
    covered = found.union(*(_STANDS_FOR[index] for index in found & _STANDS_FOR.keys()))
    return [index for index in INDEX_SETS[chosen] if index not in covered]
