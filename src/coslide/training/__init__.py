"""Loss, schedule and the training run itself."""
