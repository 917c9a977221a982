"""Recognition indices: one module per family of Table 2, and the mathematics beside it."""
