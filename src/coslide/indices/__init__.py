"""Recognition indices: one module per family, and the cube that holds them all."""
