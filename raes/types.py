"""Array types, the errors that end a run, and the base class of packed arrays: what every other module may use."""

from __future__ import annotations

import signal
import threading
from dataclasses import fields
from typing import Annotated, Any, Self

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Floating = NDArray[Any]
"""The parameters of a policy are float32, those of a function float64; what a search makes of them is of their kind."""
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
"""Numbers of the settings. Pydantic checks their ranges, where a configuration or an argument becomes settings."""

SETTINGS: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False}
"""For pydantic, in every dataclass of settings: no unknown keys, only finite numbers."""


class UserError(ValueError):
    """A mistake that the user can fix: one clear message with the value, the key and the fix; exit code 2."""


class RunFailedError(RuntimeError):
    """The run cannot go on: every episode fails, or no actor starts. The message gives the reason; exit code 1."""


class NotAFault(BaseException):
    """Ends what runs by no fault of it: a signal, or the end of the run in the middle of an episode."""


class Interrupted(NotAFault, KeyboardInterrupt):
    """Ctrl-C, or another signal that ends the command, where the command handles signals itself."""


def check_fault(error: BaseException) -> None:
    """Raise again what a user's code has not raised itself.

    Whatever else it raises is a fault of that code, as of one episode, and no end of the run: also `SystemExit`, and
    `KeyboardInterrupt`, unless it comes from Python's own handler of Ctrl-C, which is called in the main thread only.
    """
    main = threading.current_thread() is threading.main_thread()
    by_python = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if isinstance(error, NotAFault) or (isinstance(error, KeyboardInterrupt) and by_python):
        raise error


class Packed:
    """Arrays of equal first length, cut and joined together; some may be None."""

    def take(self, which: Int64 | slice) -> Self:
        """The given rows of every array."""
        return type(self)(*(None if part is None else part[which] for part in self._parts()))

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """All rows of all parts, in the order given."""
        columns = zip(*(part._parts() for part in parts), strict=True)
        return cls(*(None if column[0] is None else np.concatenate(column) for column in columns))

    def _parts(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
