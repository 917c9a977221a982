"""What the small numbers in label and class maps mean."""

BACKGROUND, LANDSLIDE, NODATA = 0, 1, 255
NO_CLASS = 255
