"""The run directory: checkpoints, metrics, event files, on a disk or in a store."""
