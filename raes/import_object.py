"""What a user's `module:name` means."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from raes.text import described, one_line
from raes.types import UserError, check_fault


def import_object(key: str, path: str) -> Any:
    """The object `module:name`.

    Args:
        key: the configuration key, for the message.
        path: its value.

    Raises:
        UserError: there is no such thing.
    """
    try:
        return resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{key}={path} cannot be imported ({one_line(error)}); run the command where the module lies, or install it"
        ) from error
    except BaseException as error:  # whatever the module does when it is imported
        check_fault(error)
        raise UserError(f"{key}={path}: its module fails ({described(error)}); fix it") from error
