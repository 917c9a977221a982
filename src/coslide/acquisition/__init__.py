"""From the id of an earthquake to files: catalogues, scenes, elevation, rain and faults, fetched from services."""
