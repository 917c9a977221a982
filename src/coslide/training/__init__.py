"""Loss, schedule, checkpoints and the training run itself."""
