"""Coseismic landslide maps and inventories by EGCN (Yang et al. 2023, doi:10.3390/rs15040977)."""

__version__ = "0.1.0"
