"""Scores of a map, pixel by pixel and landslide by landslide, and what simpler methods make of the same pixels."""
