"""The network of `policy=mlp` as a PyTorch module, for comparisons."""

from __future__ import annotations

import torch


class TanhModule(torch.nn.Sequential):
    """Linear layers with tanh between them."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        """Two hidden layers.

        Args:
            inputs: numbers of an observation.
            outputs: numbers of an action.
            hidden: units of each.
        """
        super().__init__(
            torch.nn.Linear(inputs, hidden),
            torch.nn.Tanh(),
            torch.nn.Linear(hidden, hidden),
            torch.nn.Tanh(),
            torch.nn.Linear(hidden, outputs),
        )
