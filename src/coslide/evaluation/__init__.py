"""Scores of a map: pixels and calibration, in numpy alone."""
