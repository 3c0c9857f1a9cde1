"""The weights of a model at a checkpoint of its run, for the commands that use them afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from raes.config.schema import Config
from raes.models.safetensors_file import PartsReader, entries, header
from raes.runtime.shared_weights import SharedWeights
from raes.storage.checkpoint import Checkpoints
from raes.storage.location import Location
from raes.storage.weights import WeightFiles
from raes.tasks import ModelVersion, Snapshot
from raes.training.resume import restore
from raes.types import UserError

PRIVATE = "raes."
"""What stands before the names of an optimiser's state in a snapshot."""
TIED = "tied"
"""The key of a snapshot's metadata that names parameters with two names."""


def with_weights(run_dir: Location, snapshot: Snapshot) -> Snapshot:
    """A snapshot of a checkpoint, with the newest weights on the disk that lie before it."""
    assert snapshot.model is not None
    files, shared = WeightFiles(run_dir), SharedWeights(lambda part: part)
    newest = files.newest(snapshot.model.updates)
    if newest is not None:
        shared.share(newest, list(files.read(newest)))
    return shared.with_parts(snapshot)


def version_at(config: Config, run_dir: Location, generation: int) -> ModelVersion:
    """The weights that a generation perturbed, from the log of a later checkpoint.

    Raises:
        UserError: there is none.
    """
    checkpoints = Checkpoints(run_dir)
    newest, _ = checkpoints.newest()
    if newest is None or newest.state["generation"] < generation:
        raise UserError(f"{run_dir} has no checkpoint with the updates up to generation {generation}; resume the run")
    updates = restore(config, newest).search.updates
    return ModelVersion(0, updates.part(0, generation))


def write_state(parts: Iterable[Any], out: Path) -> int:
    """Write a snapshot as a file of a module's state, as `safetensors` and `transformers` load it.

    Parameters with two names are written under both, as `module.load_state_dict` wants them.

    Args:
        parts: of the snapshot.
        out: the file.

    Returns:
        How many tensors it holds.
    """
    reader = PartsReader(parts)
    own = [one for one in reader.entries if not one.name.startswith(PRIVATE)]
    tied: dict[str, str] = json.loads(reader.metadata.get(TIED, "{}"))
    named = {one.name: one for one in own}
    everything = [*own, *(replace(named[first], name=name) for name, first in tied.items())]
    listed = entries((one.name, one.dtype, one.shape, one.stop - one.start) for one in everything)
    beginning = header(listed, {"format": "pt"})
    temporary = out.with_name(f".writing_{out.name}")
    with open(temporary, "w+b", buffering=0) as file:
        file.write(beginning)
        places = {one.name: one for one in listed}
        for one in reader.entries:
            into = places.get(one.name)
            for piece in reader.pieces(one.stop - one.start):
                if into is not None:
                    file.write(piece)
        for name, first in tied.items():
            original = places[first]
            for copied in _copied(file.fileno(), len(beginning) + original.start, len(beginning) + original.stop):
                file.write(copied)
            assert file.tell() == len(beginning) + places[name].stop
    temporary.rename(out)
    return len(listed)


def _copied(descriptor: int, start: int, stop: int, size: int = 1 << 24) -> Iterator[bytes]:
    """Bytes of a file that is being written."""
    for at in range(start, stop, size):
        yield os.pread(descriptor, min(size, stop - at), at)
