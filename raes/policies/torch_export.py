"""A trained numpy policy as a PyTorch module; imported only where PyTorch is needed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class ExportedPolicy(nn.Module):
    """Observations (n, obs) to actions (n, ...), as the policy takes them in evaluations.

    Attributes:
        network: from normalised observations to the outputs that the action is made from; it can be trained on.
    """

    observation_mean: Tensor
    observation_scale: Tensor
    low: Tensor
    high: Tensor
    values: Tensor
    counts: Tensor
    start: Tensor

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Build the network from what `raes.export.arrays` returns."""
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(int(arrays["layers"])):
            weights = torch.from_numpy(np.array(arrays[f"weights_{number}"], np.float32))
            linear = nn.Linear(weights.shape[1], weights.shape[0])
            linear.weight.data = weights
            linear.bias.data = torch.from_numpy(np.array(arrays[f"biases_{number}"], np.float32))
            activation = nn.Tanh() if arrays["nonlinearity"] == "tanh" else nn.ReLU()
            layers += [activation, linear] if layers else [linear]
        self.network = nn.Sequential(*layers)
        self.inputs = int(arrays["weights_0"].shape[1])
        self.normalised = "observation_mean" in arrays
        for name in ("observation_mean", "observation_scale", "low", "high", "values", "counts", "start"):
            if name in arrays:
                self.register_buffer(name, torch.from_numpy(np.array(arrays[name])))
        self.bound = float(arrays.get("observation_clip", 0.0))
        self.kind = str(arrays["action"])
        self.shape = [int(size) for size in arrays["shape"]]

    def forward(self, observation: Tensor) -> Tensor:
        """The actions."""
        seen = observation.reshape(-1, self.inputs)
        if self.normalised:
            seen = ((seen - self.observation_mean) * self.observation_scale).clamp(-self.bound, self.bound)
        x: Tensor = self.network(seen.float())
        if self.kind == "box":
            x = x if self.low.is_floating_point() else x.round()
            return torch.minimum(torch.maximum(x.reshape(-1, *self.shape), self.low), self.high).to(self.low.dtype)
        if self.kind == "bins":
            chosen = x.reshape(-1, *self.values.shape).argmax(dim=2)
            return self.values[torch.arange(len(self.values)), chosen].reshape(-1, *self.shape)
        if self.kind == "multi_binary":
            return (x > 0).to(torch.int8).reshape(-1, *self.shape)
        parts = torch.split(x, self.counts.tolist(), dim=1)
        choices = torch.stack([part.argmax(dim=1) for part in parts], dim=1) + self.start
        return choices.reshape(-1, *self.shape)


def script(arrays: Mapping[str, Any]) -> Any:
    """The policy as TorchScript, which loads where RAES is not installed."""
    module = ExportedPolicy(arrays).eval().requires_grad_(False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        return trace(module, torch.zeros(2, module.inputs, dtype=torch.float64))
