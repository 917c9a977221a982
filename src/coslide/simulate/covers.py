"""What can cover the ground of a simulated scene."""

from enum import IntEnum


class Cover(IntEnum):
    """What covers a fine (5 m) cell; rasters of it are uint8."""

    CONIFER = 0
    BROADLEAF = 1
    SHRUB = 2
    MEADOW = 3
    CROP = 4  # a field with its plants
    STUBBLE = 5  # a field after harvest
    SOIL = 6  # ploughed, cleared or cut open
    OUTCROP = 7  # rock and scree that have weathered
    OLD_SCAR = 8  # of landslides long before the earthquake
    DEBRIS = 9  # broken rock and soil of the earthquake's landslides
    GRAVEL = 10  # banks and bars of rivers
    WATER = 11
    ROAD = 12
    ROOF = 13
    SNOW = 14
    CUT = 15  # rock and soil that people have laid open; to a satellite it is debris
