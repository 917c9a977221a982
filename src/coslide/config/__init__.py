"""What a person sets: the event file and the settings of a training."""
