"""Blocks of tasks and their results as bytes, for calls between a pool and its workers.

An episode may be short, and a block a single episode. The pickling of a few small arrays, by Ray or as objects, then
costs more than all else that a pool does for it, and their memory as it is a twentieth of that.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np

from raes.results import RESULT_DTYPE, Results
from raes.tasks import Genomes, Snapshot, Tasks


def pack_tasks(tasks: Tasks) -> bytes:
    """A block for `unpack_tasks`."""
    genomes, vectors = tasks.genomes, tasks.genomes.vectors
    return pickle.dumps(
        (
            tasks.purpose,
            tasks.generation,
            tasks.index.tobytes(),
            tasks.reset.tobytes(),
            tasks.observe.tobytes(),
            genomes.noise_index.tobytes(),
            genomes.scale.dtype.char,
            genomes.scale.tobytes(),
            None if genomes.parent is None else genomes.parent.tobytes(),
            None if vectors is None else (vectors.dtype.char, vectors.tobytes()),
        ),
        pickle.HIGHEST_PROTOCOL,
    )


def unpack_tasks(message: bytes) -> Tasks:
    """The block that `pack_tasks` was given; its arrays cannot be written to."""
    purpose, generation, index, reset, observe, noise_index, kind, scale, parent, vectors = pickle.loads(message)
    indices = np.frombuffer(index, np.int64)
    genomes = Genomes(
        np.frombuffer(noise_index, np.int64),
        np.frombuffer(scale, kind),
        None if parent is None else np.frombuffer(parent, np.int64),
        None if vectors is None else np.frombuffer(vectors[1], vectors[0]).reshape(len(indices), -1),
    )
    return Tasks(
        purpose, generation, indices, np.frombuffer(reset, np.int64), np.frombuffer(observe, np.bool_), genomes
    )


def pack_results(results: Results) -> bytes:
    """Results for `unpack_results`."""
    others = results.moments, results.faults, results.behaviors, results.weights, results.parts
    return pickle.dumps(
        (results.purpose, results.generation, results.records.tobytes(), *others), pickle.HIGHEST_PROTOCOL
    )


def unpack_results(message: bytes) -> Results:
    """The results that `pack_results` was given; the records cannot be written to."""
    purpose, generation, records, *others = pickle.loads(message)
    return Results(purpose, generation, np.frombuffer(records, RESULT_DTYPE), *others)


def snapshot_bytes(snapshot: Snapshot) -> int:
    """How long a snapshot is as it travels, without the parts of a model's weights, which go to each node once."""
    if snapshot.model is not None:
        snapshot = replace(snapshot, model=replace(snapshot.model, parts=()))
    return len(pickle.dumps(snapshot, pickle.HIGHEST_PROTOCOL))
