"""The index cube: its bands, its layers, its store."""
