"""A trained model on disk, the probability map of a scene, and the inventory drawn from it."""
