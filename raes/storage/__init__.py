"""What a run leaves on disk: checkpoints, metrics, event files."""
