"""The engine that holds a PyTorch module; see `Engine` for the methods."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from raes.models.engine import Direction, EngineRecipe, MemoryNeed
from raes.models.held_tensor import DTYPES, HeldTensor, checksum
from raes.models.safetensors_file import Entry, PartsReader, entries, header
from raes.models.tensor_noise import HalfWordStream, TensorNoise, stream_key
from raes.policies.torch_policy import reset
from raes.rng import Purpose
from raes.search.optimizers import ClipUpSettings
from raes.tasks import ModelUpdate
from raes.types import UserError
from raes.validation import number

KINDS = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The dtypes' names in safetensors."""
MOMENT = "raes.moment{}."
"""What stands before a parameter's name, for the optimiser's state in a snapshot."""


class TorchEngine:
    """A module whose trained parameters are kept twice; it is in eval mode and stays so.

    Parameters that are tied, which is one parameter under several names, are perturbed once. What is not trained, and
    the buffers, stay as they are: a reward that changes a buffer finds it restored at the next perturbation.

    Attributes:
        size: bytes of the file that `save` gives.
        trained: the trained tensors by name.
    """

    def __init__(self, recipe: EngineRecipe) -> None:
        """Build the module and copy what is trained.

        Raises:
            UserError: it is no module, or it cannot be trained like this; the message names the key.
        """
        torch.set_num_threads(1)
        if isinstance(recipe.optimizer, ClipUpSettings):
            raise UserError(
                "optimizer.name=clipup: needs the norm of the whole gradient, which nobody holds here; use plain, sgd "
                "or adam"
            )
        self._recipe, self._device = recipe, _device(recipe.device)
        self.module = recipe.build()
        if not isinstance(self.module, torch.nn.Module):
            raise UserError(f"env.build gives a {type(self.module).__name__}, not a torch.nn.Module")
        named = dict(self.module.named_parameters())
        chosen = _chosen(named, recipe.parameters)
        self.module.to(self._device).eval().requires_grad_(False)
        named = dict(self.module.named_parameters())
        self.trained = {name: HeldTensor(name, named[name], recipe.optimizer) for name in chosen}
        self._frozen = {name: one for name, one in named.items() if name not in self.trained}
        self._buffers = dict(self.module.named_buffers())
        self._kept_buffers = {name: (one.clone(), one._version) for name, one in self._buffers.items()}
        self._noisy, self._updates = False, 0
        self._entries = self._layout()
        self._header = self._make_header()
        self.size = len(self._header) + self._entries[-1].stop

    @property
    def num_params(self) -> int:
        """Trained numbers."""
        return sum(one.kept.numel() for one in self.trained.values())

    @property
    def memory(self) -> MemoryNeed:
        """What it holds."""
        every = [*self.module.parameters(), *self._buffers.values()]
        copy = sum(one.kept.numel() * one.kept.element_size() for one in self.trained.values())
        moments = sum(4 * one.numel() for tensor in self.trained.values() for one in tensor.moments)
        return MemoryNeed(sum(one.numel() * one.element_size() for one in every), copy, moments)

    @property
    def changed(self) -> list[str]:
        """Trained tensors that somebody else has written to since they were perturbed or restored."""
        return [name for name, one in self.trained.items() if one.changed]

    def perturb(self, direction: Direction) -> None:
        """See `Engine`."""
        self._noisy = True
        for tensor in self.trained.values():
            noise = self._noise(direction.generation, direction.pair, tensor)
            tensor.perturb(noise, direction.scale)
        self._restore_buffers()

    def restore(self) -> None:
        """See `Engine`."""
        for tensor in self.trained.values():
            if self._noisy or tensor.changed:
                tensor.restore()
        self._noisy = False
        self._restore_buffers()

    def update(self, update: ModelUpdate) -> None:
        """See `Engine`."""
        for name, tensor in self.trained.items():
            noises = [self._noise(update.generation, pair, tensor) for pair in update.pair.tolist()]
            dither = HalfWordStream(self._key(Purpose.ROUNDING, update.generation, 0, name), self._device)
            tensor.update(noises, update.weight.tolist(), self._updates + 1, update.stepsize, dither)
        self._noisy = False
        self._updates += 1
        self._header = self._make_header()

    def evaluate(self, *task: Any) -> float:
        """See `Engine`; the module's method `reset()` is called before, where it has one."""
        reset(self.module)
        with torch.no_grad():
            return number(self._recipe.reward(self.module, *task))

    def digest(self) -> str:
        """See `Engine`; frozen parameters and buffers are part of it."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self.trained.items():
            digest.update(f"{name} {tensor.live.dtype} {tensor.shape}".encode())
            digest.update(tensor.current_sums().cpu().numpy().tobytes())
            for moment in tensor.moments:
                digest.update(checksum(moment))
        buffers = {name: kept for name, (kept, _) in self._kept_buffers.items()}
        for name, one in (self._frozen | buffers).items():
            digest.update(f"{name} {one.dtype} {tuple(one.shape)}".encode() + checksum(one))
        return digest.hexdigest()

    def save(self, start: int, stop: int) -> bytes:
        """See `Engine`."""
        beginning = len(self._header)
        pieces = [self._header[start:stop]]
        for entry, flat in zip(self._entries, self._tensors().values(), strict=True):
            first, last = max(start - beginning, entry.start), min(stop - beginning, entry.stop)
            if first < last:
                content = flat.view(torch.uint8)[first - entry.start : last - entry.start]
                pieces.append(content.cpu().numpy().tobytes())
        return b"".join(pieces)

    def load(self, parts: Iterable[Any]) -> None:
        """See `Engine`.

        Raises:
            ValueError: the file is of another model, or not whole.
        """
        reader = PartsReader(parts)
        if reader.entries != self._entries:
            raise ValueError("the file holds other tensors than the model has")
        for entry, flat in zip(self._entries, self._tensors().values(), strict=True):
            into, at = flat.view(torch.uint8), 0
            for piece in reader.pieces(entry.stop - entry.start):
                content = np.frombuffer(piece, np.uint8)
                into[at : at + len(content)].copy_(_borrowed(content))
                at += len(content)
        self._updates = int(reader.metadata["updates"])
        self._header = self._make_header()
        for tensor in self.trained.values():
            tensor.accept()
        self._noisy = False

    def _tensors(self) -> dict[str, torch.Tensor]:
        """All that a snapshot holds, flat, by its name there; tied parameters once."""
        found = {name: tensor.kept for name, tensor in self.trained.items()}
        found |= {name: one.detach().view(-1) for name, one in self._frozen.items()}
        persistent = self.module.state_dict().keys()
        found |= {name: kept.view(-1) for name, (kept, _) in self._kept_buffers.items() if name in persistent}
        for name, tensor in self.trained.items():
            found |= {f"{MOMENT.format(number)}{name}": one for number, one in enumerate(tensor.moments)}
        return found

    def _layout(self) -> list[Entry]:
        shapes = {name: tuple(one.shape) for name, one in [*self.module.named_parameters(), *self._buffers.items()]}
        return entries(
            (name, KINDS[one.dtype], shapes.get(name, tuple(one.shape)), one.numel() * one.element_size())
            for name, one in self._tensors().items()
        )

    def _make_header(self) -> bytes:
        """Of constant length for a model, so that parts of a file stay where they are."""
        every = dict(self.module.named_parameters(remove_duplicate=False))
        first = {id(one): name for name, one in self.module.named_parameters()}
        tied = {name: first[id(one)] for name, one in every.items() if first[id(one)] != name}
        return header(self._entries, {"format": "pt", "updates": f"{self._updates:012d}", "tied": json.dumps(tied)})

    def _noise(self, generation: int, pair: int, tensor: HeldTensor) -> TensorNoise:
        key = self._key(Purpose.MODEL_NOISE, generation, pair, tensor.name)
        return TensorNoise(key, tensor.shape, self._recipe.rank, self._device)

    def _key(self, purpose: Purpose, generation: int, pair: int, name: str) -> tuple[int, int]:
        return stream_key(self._recipe.seed, purpose, generation, pair, name)

    def _restore_buffers(self) -> None:
        for name, (kept, version) in self._kept_buffers.items():
            if self._buffers[name]._version != version:
                self._buffers[name].copy_(kept)
                self._kept_buffers[name] = (kept, self._buffers[name]._version)


def load_into(module: torch.nn.Module, parts: Iterable[Any]) -> None:
    """Copy the weights in the consecutive parts of a snapshot into a module; its buffers stay as they are.

    Raises:
        ValueError: the file ends too early.
    """
    named, reader = dict(module.named_parameters()), PartsReader(parts)
    for entry in reader.entries:
        content = np.frombuffer(b"".join(reader.pieces(entry.stop - entry.start)), np.uint8)
        if (parameter := named.get(entry.name)) is not None:
            with torch.no_grad():
                parameter.copy_(_borrowed(content).view(parameter.dtype).view(parameter.shape))


def _chosen(named: dict[str, torch.nn.Parameter], patterns: tuple[str, ...]) -> list[str]:
    """The names of the trained parameters, in the module's order.

    Raises:
        UserError: a pattern matches nothing, or a parameter cannot be trained.
    """
    for pattern in patterns:
        if not fnmatch.filter(named, pattern):
            shown = ", ".join(list(named)[:8]) + (", ..." if len(named) > 8 else "")
            raise UserError(f"env.parameters: {pattern} matches no parameter of the model; it has {shown}")
    chosen = [name for name in named if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise UserError(
            "env.parameters names no parameter, so that there is nothing to train; give env.parameters=['*']"
        )
    places: dict[int, str] = {}
    for name in chosen:
        one = named[name]
        if isinstance(one, torch.nn.UninitializedParameter):
            raise UserError(f"the model's {name} is lazy and has no size yet; give its layer the input sizes")
        if one.dtype not in DTYPES:
            able = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise UserError(
                f"the model's {name} is of {one.dtype}, for which there is no noise; convert it to one of {able}, or "
                "leave it out of env.parameters"
            )
        if one.numel() and (other := places.setdefault(one.data_ptr(), name)) != name:
            raise UserError(f"the model's {name} and {other} share memory; tie them as one Parameter")
    return [name for name in chosen if named[name].numel()]


def _device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        UserError: this process has none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"env.device={name}: must be cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"env.device={name}: PyTorch finds no GPU here; set env.device=cpu, or give workers one with "
            "runtime.gpus_per_worker"
        )
    return device


def _borrowed(content: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor of read-only bytes, to be copied from alone."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory that cannot be written
        return torch.from_numpy(content)
