"""RAES from Python: runs, black-box functions and PyTorch modules; re-exported by `raes`."""
