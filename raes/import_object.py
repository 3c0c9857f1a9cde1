"""What a user's `module:name` means."""

from __future__ import annotations

import importlib
from typing import Any

from raes.types import UserError


def import_object(key: str, path: str) -> Any:
    """What lies at `module:name`.

    Args:
        key: the configuration key, for the message.
        path: its value.

    Raises:
        UserError: there is no such thing.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{key}={path} cannot be imported ({error}); run the command where the module lies, or install it"
        ) from error
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise UserError(f"{key}={path}: its module fails ({type(error).__name__}: {error}); mend it") from error
