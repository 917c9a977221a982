"""The colours of every figure, page, style and class map, told apart by people who are colour-blind.

Okabe and Ito (2008), Color universal design, jfly.uni-koeln.de/color; then Paul Tol's muted set.
"""

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PINK, GREY = "#0072B2", "#D55E00", "#CC79A7", "#999999"
DISTINCT = (
    ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PINK, "#332288", "#999933", "#882255", "#44AA99", "#DDCC77",
)  # fmt: skip
"""Colours of classes without an order."""

CORRECT, FALSE_ALARM, MISSED, NOT_SCORED = YELLOW, VERMILION, SKY, "#C0B24A"
NODATA = "#D9D9D9"
MODEL, BASELINES = BLUE, (ORANGE, PINK)
PROBABILITY = ("#FEE0B6", ORANGE, "#B35806")
"""Classes of landslide probability, from the least to the most sure, and the ends of its colour map."""
OUTLINE = "#783200"
"""Outlines of landslide polygons."""
