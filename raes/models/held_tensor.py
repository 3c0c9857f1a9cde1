"""One trained tensor in a worker: the module's own, which is perturbed, and a copy that only updates change.

The copy makes restoring exact whatever the dtype; it lies on the tensor's device, so that training takes twice the
memory of the trained weights, and noise is held for one block at a time.

Arithmetic: in float32, by single additions and multiplications in a fixed order, then rounded once to the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from raes.models.engine import WeightsCorruptedError
from raes.models.tensor_noise import HalfWordStream, TensorNoise
from raes.search.optimizers import AdamSettings, OptimizerSettings

DTYPES = {torch.float32: 23, torch.bfloat16: 7, torch.float16: 10}
"""Those that can be trained, with the bits of their mantissa."""
HALF_NORMAL, HALF_STEP = 2.0**-14, 2.0**-24
"""Of float16: where its numbers begin to have one distance, and that distance."""
BLOCK, BLOCK_ON_GPU = 1 << 16, 1 << 22
"""Elements whose noise is held at a time; no bit depends on it."""
CHECKED = 1 << 12
"""Elements under one checksum."""


def moments_of(settings: OptimizerSettings) -> int:
    """How many float32 numbers an optimiser keeps per parameter."""
    return 2 if isinstance(settings, AdamSettings) else 1 if settings.momentum else 0


class HeldTensor:
    """A parameter of a module with its copy, its checksums and its optimiser's state.

    Attributes:
        name: in the module.
        live: the module's own numbers, flat.
        kept: the numbers without noise, flat.
        moments: float32, flat, of the optimiser: the velocity, or Adam's two moments.
    """

    def __init__(self, name: str, parameter: torch.nn.Parameter, settings: OptimizerSettings) -> None:
        if not parameter.is_contiguous():
            parameter.data = parameter.data.contiguous()
        self.name, self.shape, self._settings = name, tuple(parameter.shape), settings
        self._parameter = parameter
        self.live = parameter.detach().view(-1)
        self._size = self.live.numel()
        padded = -(-self._size // CHECKED) * CHECKED
        self._store = torch.zeros(padded, dtype=self.live.dtype, device=self.live.device)
        self.kept = self._store[: self._size]
        self.kept.copy_(self.live)
        self.moments = [torch.zeros(self._size, device=self.live.device) for _ in range(moments_of(settings))]
        self._length = BLOCK if self.live.device.type == "cpu" else BLOCK_ON_GPU
        self._version = parameter._version
        self.sums = self.current_sums()

    @property
    def changed(self) -> bool:
        """Whether somebody else has written to the module's tensor since it was perturbed or restored."""
        return self._parameter._version != self._version

    def perturb(self, noise: TensorNoise, scale: float) -> None:
        """Set the module's tensor to kept + scale * noise.

        Raises:
            WeightsCorruptedError: the kept numbers have changed since the last update or load.
        """
        buffer = torch.empty(min(self._size, self._length), device=self.live.device)
        found = torch.empty_like(self.sums)
        for start, stop in self._blocks():
            part = buffer[: stop - start]
            found[self._rows(start, stop)] = self._sums_of(start, stop)
            noise.fill(part, start).mul_(scale).add_(self.kept[start:stop])
            self.live[start:stop].copy_(part)
        self._version = self._parameter._version
        if not torch.equal(found, self.sums):
            raise WeightsCorruptedError(f"{self.name} has changed since its last update")

    def restore(self) -> None:
        """Set the module's tensor to the kept numbers."""
        self.live.copy_(self.kept)
        self._version = self._parameter._version

    def update(
        self,
        noises: Sequence[TensorNoise],
        weights: Sequence[float],
        steps: int,
        stepsize: float,
        dither: HalfWordStream,
    ) -> None:
        """One step of the optimiser along sum_i weights[i] * noise i; the module's tensor is restored with it.

        Args:
            noises: of the pairs, in the order in which they are added.
            weights: float32 numbers, one for each.
            steps: the optimiser's, this one included.
            stepsize: of this generation.
            dither: random numbers for stochastic rounding, where the dtype is not float32.
        """
        length = min(self._size, self._length)
        total, buffer = (torch.empty(length, device=self.live.device) for _ in range(2))
        for start, stop in self._blocks():
            gradient, part = total[: stop - start].zero_(), buffer[: stop - start]
            for noise, weight in zip(noises, weights, strict=True):
                gradient.add_(noise.fill(part, start).mul_(weight))
            part.copy_(self.kept[start:stop])
            moments = [one[start:stop] for one in self.moments]
            step = _step(self._settings, part, gradient, moments, steps, stepsize)
            new = part.add_(step)
            if self.live.dtype != torch.float32:
                new = dithered(new, self.live.dtype, dither.fill(step.view(torch.int32), start))
            self.kept[start:stop].copy_(new)
            self.sums[self._rows(start, stop)] = self._sums_of(start, stop)
        self.restore()

    def current_sums(self) -> torch.Tensor:
        """The checksums of the kept numbers as they are now, int64 (n,)."""
        return torch.cat([self._sums_of(start, stop) for start, stop in self._blocks()])

    def accept(self) -> None:
        """Take the kept numbers, which were overwritten, for right."""
        self.sums = self.current_sums()
        self.restore()

    def _blocks(self) -> Iterator[tuple[int, int]]:
        return ((start, min(start + self._length, self._size)) for start in range(0, self._size, self._length))

    def _rows(self, start: int, stop: int) -> slice:
        return slice(start // CHECKED, -(-stop // CHECKED))

    def _sums_of(self, start: int, stop: int) -> torch.Tensor:
        """Sums of words modulo 2**64, of which a single changed bit changes one."""
        rows = self._rows(start, stop)
        words = self._store[rows.start * CHECKED : rows.stop * CHECKED].view(torch.int64)
        return words.view(rows.stop - rows.start, -1).sum(1)


def _step(
    settings: OptimizerSettings,
    theta: torch.Tensor,
    gradient: torch.Tensor,
    moments: list[torch.Tensor],
    steps: int,
    stepsize: float,
) -> torch.Tensor:
    """What to add to theta; as `raes.search.optimizers.step`, in place, on a block. `gradient` is overwritten."""
    if settings.weight_decay:
        gradient.sub_(theta * settings.weight_decay)
    if not moments:
        return gradient.mul_(stepsize)
    first = moments[0].mul_(settings.momentum).add_(gradient * (1 - settings.momentum))
    if not isinstance(settings, AdamSettings):
        return torch.mul(first, stepsize, out=gradient)
    second = moments[1].mul_(settings.beta2).add_(gradient.mul_(gradient).mul_(1 - settings.beta2))
    corrected = stepsize * math.sqrt(1 - settings.beta2**steps) / (1 - settings.momentum**steps)
    return torch.mul(first, corrected, out=gradient).div_(second.sqrt().add_(settings.epsilon))


def dithered(values: torch.Tensor, dtype: torch.dtype, halves: torch.Tensor) -> torch.Tensor:
    """Float32 values rounded up or down to numbers of a shorter dtype, so that they are right on average.

    A step of an update is often smaller than half the distance of two numbers of the dtype; rounded to nearest, it
    would be lost in every generation.

    Args:
        values: float32 (n,).
        dtype: bfloat16 or float16.
        halves: int32 (n,), random numbers in [0, 65536).
    """
    dropped = 23 - DTYPES[dtype]
    # A random part of the last bit that stays is added to the bits, and the others are cut off.
    bits = (values.view(torch.int32) + (halves >> (16 - dropped))) & -(1 << dropped)
    rounded = bits.view(torch.float32)
    if dtype != torch.float16:
        return rounded
    small = torch.floor(values * (1 / HALF_STEP) + halves * (1.0 / (1 << 16))) * HALF_STEP
    return torch.where(values.abs() < HALF_NORMAL, small, rounded)


def checksum(tensor: torch.Tensor) -> bytes:
    """Eight bytes or more that a single changed bit of any tensor changes."""
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    whole = flat.numel() // 8 * 8
    total = int(flat[:whole].clone().view(torch.int64).sum()) if whole else 0
    return total.to_bytes(8, "little", signed=True) + bytes(flat[whole:].tolist())
