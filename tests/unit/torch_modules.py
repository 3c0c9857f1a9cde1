"""PyTorch modules that the tests use as policies."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A network with a buffer and a dropout, neither of which may matter to a search."""

    def __init__(self, inputs: int = 3, outputs: int = 2, units: int = 5) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, units), nn.Linear(units, outputs)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("offset", torch.full((units,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.dropout(torch.tanh(self.first(x))) + self.offset)


class Recurrent(nn.Module):
    """Keeps its hidden state between timesteps, until it is reset."""

    def __init__(self, inputs: int = 3, outputs: int = 2) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(inputs, 4), nn.Linear(4, outputs)
        self.reset()

    def reset(self) -> None:
        self.hidden = torch.zeros(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = self.cell(x, self.hidden)
        return self.out(self.hidden)


class Remembering(nn.Module):
    """Keeps the very tensor that it gave, and a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.given = self.out(x)
        self.copy = self.given.clone()
        return self.given


class Convolution(nn.Module):
    """Needs images as images, (n, height, width, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(2, 3, 2), nn.Linear(3 * 3 * 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.first(x.permute(0, 3, 1, 2) / 255).flatten(1))


class Doubles(nn.Module):
    """Parameters of float64."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2).double()


def no_module() -> int:
    """Not a module."""
    return 3


class Forgetful(Recurrent):
    """One output, and a hidden state that is reset."""

    def __init__(self, inputs: int = 3, outputs: int = 1) -> None:
        super().__init__(inputs, outputs)


class Remembers(nn.Module):
    """One output, and a hidden state that nobody resets."""

    def __init__(self, inputs: int = 3) -> None:
        super().__init__()
        self.inner = Forgetful(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class SecondIsNaN(nn.Module):
    """Two outputs, the second of which is no number."""

    def __init__(self, inputs: int = 3) -> None:
        super().__init__()
        self.out = nn.Linear(inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.out(x)
        return torch.cat([one, one * torch.nan], dim=1)
