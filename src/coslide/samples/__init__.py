"""Tiles cut from the cube, the split that keeps their pixels apart, and the data set that feeds a network."""
