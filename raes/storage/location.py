"""The location of a run: a folder on a disk, or a URL of a store (`s3://`, `gs://`, `az://`, whatever fsspec knows).

Both are read by the same methods, those of `pathlib`; a store is written by `raes.storage.mirror` alone.

Not by `universal-pathlib`: fsspec's `exists` and `isdir`, which it calls, take a store that does not answer for an
empty one, where `resume=auto` would begin anew over a run; listings come from a cache, and errors are each store's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from raes.storage.pretrained import names, pretrained
from raes.text import one_line
from raes.types import UserError

Answer = TypeVar("Answer")

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""The extra that serves a scheme. These are object stores: they have no folders to make first."""
ELSEWHERE = "give it in environment variables or in fsspec's own configuration (docs/how-to/remote-runs.md)"
SECRETS = re.compile(r"^[^@]*:[^@]*@|\?|\b(AKIA|ASIA)[A-Z0-9]{12,}")
"""Matches URLs, after their `://`, that contain a secret, a key or an option."""
SECRET_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|CONNECTION_STRING|SAS", re.IGNORECASE)
SIGNED = re.compile(r"(?i)\b(signature|sig|token|credential|key|secret|password)=[^&\s\"']+")
CONFIG = "config.yaml"
"""The file by which a folder is a run."""
NAMED = 8
"""How many runs a message lists."""
REASON_LENGTH = 300
"""Characters of a store's own error message that ours repeats."""


class StoreError(UserError):
    """A store that cannot be reached, or does not let us in. Never a damaged file."""


@dataclass(frozen=True)
class RemotePath:
    """A location in a store, with `pathlib`'s methods for reading.

    Attributes:
        url: without a slash at its end.

    Raises:
        StoreError: every method that reads or writes the store, where it does not answer.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def parent(self) -> RemotePath:
        scheme, rest = self.url.split("://", 1)
        return RemotePath(f"{scheme}://{rest.rsplit('/', 1)[0]}")

    def absolute(self) -> RemotePath:
        return self

    def resolve(self) -> RemotePath:
        return self

    def exists(self) -> bool:
        return self._kind() is not None

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError where there is nothing."""
        content: bytes = self._ask(lambda store, path: store.cat_file(path))
        return content

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def glob(self, pattern: str) -> list[RemotePath]:
        """The entries directly below whose names match the pattern."""
        try:
            entries = self._ask(lambda store, path: store.ls(path, detail=True))
        except FileNotFoundError:
            return []
        names = {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        return [self / name for name in sorted(names) if fnmatch(name, pattern)]

    def files(self) -> list[str]:
        """The paths of all files below, relative to this one."""
        try:
            found, base = self._ask(lambda store, path: (store.find(path), path.rstrip("/") + "/"))
        except FileNotFoundError:
            return []
        names = [name.removeprefix(base) for name in found if name.startswith(base)]
        return sorted(name for name in names if name and not name.endswith("/"))

    def write_bytes(self, content: bytes) -> None:
        """Replace an object whole, where the store does so; nothing here relies on it but for the pointers."""

        def write(store: Any, path: str) -> None:
            if self.url.split("://")[0] not in EXTRAS:
                store.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            store.pipe_file(path, content)

        try:
            self._ask(write)
        except FileNotFoundError as error:  # no such bucket
            raise StoreError(f"{self.url} cannot be written ({_reason(error)}); name a store that exists") from error

    def unlink(self) -> None:
        """Remove a file, if it is there."""
        try:
            self._ask(lambda store, path: store.rm_file(path))
        except FileNotFoundError:
            return

    def _kind(self) -> str | None:
        try:
            return str(self._ask(lambda store, path: store.info(path))["type"])
        except FileNotFoundError:
            return None

    def _ask(self, question: Callable[[Any, str], Answer]) -> Answer:
        store, path = self._store()
        try:
            store.invalidate_cache()  # others write too
            return question(store, path)
        except FileNotFoundError:
            raise
        except Exception as error:  # each store has errors of its own
            raise StoreError(
                f"{self.url}: the store fails ({_reason(error)}); check the address, the network, and the "
                "credentials of this machine"
            ) from error

    def _store(self) -> tuple[Any, str]:
        scheme = self.url.split("://", 1)[0]
        extra = f"raes[{EXTRAS[scheme]}]" if scheme in EXTRAS else "fsspec"
        try:
            from fsspec.core import url_to_fs

            store, path = url_to_fs(self.url)
        except ImportError as error:
            more = "" if scheme in EXTRAS else f" and the package that serves {scheme}://"
            raise UserError(f"{self.url}: {_reason(error)}; pip install '{extra}'{more}") from error
        except Exception as error:
            raise UserError(f"{self.url}: {_reason(error)}; name a folder, or a URL that fsspec knows") from error
        return store, path


Location = Path | RemotePath


def location(text: str, key: str = "run_dir") -> Location:
    """The location that a user names.

    Args:
        text: a path or a URL.
        key: the configuration key, for messages.

    Raises:
        UserError: a URL that holds a secret, which is not repeated, or that names no location.
    """
    if "://" not in text:
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            raise UserError(f"{key}={text}: there is no user {text.split('/')[0][1:]}; name a folder") from error
    scheme, rest = text.split("://", 1)
    if SECRETS.search(rest):
        raise UserError(f"{key}={scheme}://...: this URL holds a user's secret, a key or an option; {ELSEWHERE}")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise UserError(f"{key}={text}: {scheme} is no scheme of a URL; name a folder, or s3://BUCKET/FOLDER")
    if not rest.split("/")[0] and (scheme in EXTRAS or not rest.strip("/")):
        raise UserError(f"{key}={text} names no bucket; give {scheme}://BUCKET/FOLDER")
    return RemotePath(f"{scheme}://{rest.rstrip('/')}")


def run_location(text: str) -> Location:
    """The location of a run that is there.

    Args:
        text: what `run_dir` is; `pretrained:NAME` for a policy that comes along.

    Raises:
        UserError: there is none; the message names the runs that are near.
    """
    if (own := pretrained(text)) is not None:
        return own
    run_dir = location(text)
    if (run_dir / CONFIG).exists():
        return run_dir
    if not run_dir.exists():
        named = f"; pretrained={text} is one that comes along" if text in names() else ""
        raise UserError(f"run_dir={text}: there is no such folder{named}{_near(run_dir.parent, run_dir.name)}")
    raise UserError(f"run_dir={text}: no run of RAES, since it holds no {CONFIG}{_near(run_dir)}")


def _near(folder: Location, name: str = "") -> str:
    """The runs in a folder of this machine, those with a similar name first, for a message; empty without any."""
    if not isinstance(folder, Path) or not folder.is_dir():
        return ""
    names = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    names = [*dict.fromkeys([*get_close_matches(name, names), *names])]
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return f"; the runs in {folder} are {', '.join(names[:NAMED] + more)}" if names else ""


def masked(text: str) -> str:
    """A text without the values of this process's secret environment variables and without signatures."""
    for name, value in os.environ.items():
        if len(value) >= 8 and SECRET_NAMES.search(name):
            text = text.replace(value, "***")
    return SIGNED.sub(r"\1=***", text)


def _reason(error: BaseException) -> str:
    """One line of an error, without secrets."""
    return f"{type(error).__name__}: {one_line(masked(str(error)), REASON_LENGTH) or 'no reason given'}"
