"""Any PyTorch module as a policy (`raes[torch]`); torch is imported when the first one is built.

theta is the module's parameters, one after the other in the order of `module.parameters()`. Buffers are not part of it,
and the module is in eval mode. A module that keeps a state within an episode has a method `reset()`, which is called
before each episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from raes.import_object import import_object
from raes.policies.clip import clip
from raes.policies.heads import Head
from raes.tasks import Layers
from raes.text import described
from raes.types import SETTINGS, Float32, Float64, UserError, check_fault

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TorchSettings:
    """Configuration group `policy`, option `torch`.

    Attributes:
        module: `package.module:Class`, a `torch.nn.Module`.
        kwargs: of its constructor.
        bins: None, or bins per action component, as of the other policies.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["torch"] = "torch"
    module: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    bins: int | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.module.count(":") != 1:
            raise ValueError(f"module must be package.module:Class, got {self.module!r}")


class TorchPolicy:
    """A module that is given float32 (1, *shape) and returns (1, outputs) or (outputs,); see `MLP` for the methods.

    Attributes:
        num_params: d.
        head: the action head.
        module: in eval mode, with the parameters that were set last.
    """

    def __init__(self, shape: tuple[int, ...], head: Head, settings: TorchSettings) -> None:
        self._torch = _torch()
        self.head, self._settings = head, settings
        self.module = _build_module(settings)
        self._parameters = Parameters(self.module)
        self.num_params = self._parameters.size
        # PyTorch's memory begins at a multiple of 64 bytes and numpy's does not: MKL's sums differ with that.
        self._tensor = self._torch.zeros(1, *shape, dtype=self._torch.float32)
        self._x: Float32 = self._tensor.numpy().reshape(-1)
        self._mean: Float64 | None = None
        self._scale = self._low = self._high = np.zeros(self._x.size)
        self._check_outputs()

    @property
    def layer_sizes(self) -> Layers:
        """Empty: a module's layers are not known here."""
        return ()

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """The parameters of a freshly initialised module, float32 (d,)."""
        with self._torch.random.fork_rng(devices=[]):
            self._torch.manual_seed(int(rng.integers(2**63)))
            return Parameters(_build_module(self._settings)).theta()

    def set_parameters(self, theta: Float32) -> None:
        """Act with these parameters from now on, in a new episode."""
        self._parameters.set(theta)
        reset(self.module)

    def set_normaliser(self, mean: Float64 | None, scale: Float64 | None, bound: float) -> None:
        """Feed (observation - mean) * scale, clipped to +-bound, to the module; None switches it off."""
        self._mean = mean
        if scale is not None:
            self._scale = scale
        self._high = np.full(self._x.size, bound)
        self._low = -self._high

    def outputs(self, observation: np.ndarray[Any, Any]) -> Float32:
        """The module's outputs, float32 (outputs,), for a flat observation."""
        if self._mean is None:
            self._x[:] = observation
        else:
            self._x[:] = clip((observation - self._mean) * self._scale, self._low, self._high)
        with self._torch.no_grad():
            outputs: Float32 = self.module(self._tensor).numpy().ravel()
        return outputs

    def _check_outputs(self) -> None:
        """Refuse a module that does not fit observations and actions.

        Raises:
            UserError: it fails, or gives other outputs than the actions need.
        """
        shape, settings = tuple(self._tensor.shape), self._settings
        try:
            self.set_parameters(self._parameters.theta())
            with self._torch.no_grad():
                given = self.module(self._tensor)
            dtype, size = given.dtype, given.numel()
        except BaseException as error:
            check_fault(error)
            raise UserError(
                f"policy.module={settings.module} fails on observations of shape {shape}: "
                f"{described(error)}; fix the module or policy.kwargs={dict(settings.kwargs)}"
            ) from error
        if size != self.head.outputs or dtype != self._torch.float32:
            raise UserError(
                f"policy.module={settings.module} gives {size} numbers of {dtype} and the actions need "
                f"{self.head.outputs} of torch.float32; fix the module or policy.kwargs={dict(settings.kwargs)}"
            )


def reset(module: Any) -> None:
    """Reset a module that keeps a state within an episode."""
    if hasattr(module, "reset"):
        module.reset()


class Parameters:
    """A module's parameters as one vector, whose memory they share from now on; puts the module into eval mode.

    Attributes:
        size: d.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        torch = _torch()
        module.eval()
        own = list(module.parameters())
        name = f"the module {type(module).__name__}"
        if any(isinstance(one, torch.nn.UninitializedParameter) for one in own):
            raise UserError(f"{name} has lazy layers, whose sizes are not known yet; give them their input sizes")
        if not own:
            raise UserError(f"{name} has no parameters, so that there is nothing to train")
        if wrong := {str(one.dtype) for one in own} - {"torch.float32"}:
            raise UserError(f"{name} has parameters of {', '.join(sorted(wrong))}; they must be of torch.float32")
        self._flat = torch.cat([one.detach().cpu().reshape(-1) for one in own])
        self._numbers: Float32 = self._flat.numpy()
        self.size, start = self._numbers.size, 0
        for one in own:
            one.requires_grad_(False)
            one.data = self._flat[start : start + one.numel()].view(one.shape)
            start += one.numel()

    def theta(self) -> Float32:
        """A copy, float32 (d,)."""
        return self._numbers.copy()

    def set(self, theta: np.ndarray[Any, Any]) -> None:
        """Overwrite them all with (d,)."""
        self._numbers[:] = theta


def _torch() -> Any:
    """The package, with one thread, as every process here computes.

    Raises:
        UserError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("policy=torch needs PyTorch; pip install 'raes[torch]'") from error
    torch.set_num_threads(1)
    return torch


def _build_module(settings: TorchSettings) -> torch.nn.Module:
    """The user's module.

    Raises:
        UserError: it cannot be imported or made.
    """
    build, wanted = import_object("policy.module", settings.module), _torch().nn.Module
    if isinstance(build, type) and not issubclass(build, wanted):
        raise UserError(f"policy.module={settings.module} is the class {build.__name__}, not a torch.nn.Module")
    try:
        module: Any = build(**settings.kwargs)
    except BaseException as error:
        check_fault(error)
        raise UserError(
            f"policy.module={settings.module} cannot be made with policy.kwargs={dict(settings.kwargs)}: "
            f"{described(error)}"
        ) from error
    if not isinstance(module, wanted):
        raise UserError(f"policy.module={settings.module} is a {type(module).__name__}, not a torch.nn.Module")
    return module  # type: ignore[no-any-return]
