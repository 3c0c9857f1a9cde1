"""Snapshots of a model's weights on the disk, and the file that other programs load."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from raes.models.safetensors_file import PartsReader, entries, header
from raes.models.torch_engine import TorchEngine
from raes.search.optimizers import OptimizerSettings
from raes.storage.weights import WeightFiles
from raes.training.model_files import write_state

from .models import an_update, recipe, tied

ADAM = OptimizerSettings("adam", stepsize=0.01, weight_decay=0.0)


@pytest.fixture
def files(tmp_path: Path) -> WeightFiles:
    found = WeightFiles(tmp_path)
    for generation in (5, 10, 20):
        found.write(generation, [b"abc", memoryview(b"defg"), bytes([generation])])
    return found


def test_a_snapshot_is_read_as_it_was_written(files: WeightFiles) -> None:
    assert b"".join(files.read(10)) == b"abcdefg\n"
    assert files.generations() == [5, 10, 20]
    assert not list(files.folder.glob(".*"))


@pytest.mark.parametrize(("generation", "newest"), [(4, None), (5, 5), (19, 10), (99, 20)])
def test_the_newest_one_holds_no_more_updates(files: WeightFiles, generation: int, newest: int | None) -> None:
    assert files.newest(generation) == newest


@pytest.mark.parametrize("damage", ["cut", "changed", "no checksum", "a foreign checksum"])
def test_a_damaged_one_is_passed_over(files: WeightFiles, damage: str) -> None:
    path = Path(str(files.path(20)))
    sealed = path.with_suffix(".json")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "changed":
        path.write_bytes(b"x" + path.read_bytes()[1:])
    elif damage == "no checksum":
        sealed.unlink()
    else:
        sealed.write_text(json.dumps({"file_sha256": "0"}))
    assert files.newest(99) == 10


def test_those_that_are_needed_stay(files: WeightFiles) -> None:
    files.keep([7, 20])
    assert files.generations() == [5, 20]
    files.rewind(19)
    assert files.generations() == [5]
    assert sorted(path.name for path in files.folder.iterdir()) == ["gen_000005.json", "gen_000005.safetensors"]


def test_the_file_for_other_programs_is_the_module_s_state(tmp_path: Path) -> None:
    engine = TorchEngine(recipe("bfloat16", optimizer=ADAM))
    engine.update(an_update(0))
    cuts = range(0, engine.size, 500)
    parts = (engine.save(at, min(at + 500, engine.size)) for at in cuts)
    assert write_state(parts, tmp_path / "model.safetensors") == len(tied().state_dict())
    content = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    plain, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert plain.pop("__metadata__") == {"format": "pt"}
    kinds = {"BF16": torch.bfloat16, "I64": torch.int64}
    state = {}
    for name, one in plain.items():
        start, stop = one["data_offsets"]
        numbers = torch.frombuffer(bytearray(body[start:stop]), dtype=kinds[one["dtype"]])
        state[name] = numbers.view(one["shape"])
    model = tied()
    model.to(torch.bfloat16).load_state_dict(state, strict=True)
    for name, value in engine.module.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="needs the package safetensors")
def test_the_package_reads_it(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    engine = TorchEngine(recipe())
    write_state([engine.save(0, engine.size)], tmp_path / "model.safetensors")
    state = load_file(tmp_path / "model.safetensors")
    tied().load_state_dict(state, strict=True)
    assert torch.equal(state["inner.weight"], engine.module.inner.weight)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "8 bytes too early"),
        ((1 << 40).to_bytes(8, "little"), "its header has"),
        (header(entries([("a", "F32", (2,), 8)]), {})[:-4], "too early"),
        (b"\x02" + bytes(7) + b"[]", "no object"),
        (header([entries([("a", "F32", (2,), 8), ("b", "F32", (2,), 8)])[1]], {}), "begins at byte 8 and not at 0"),
    ],
    ids=["nothing", "too long", "cut", "a list", "a gap"],
)
def test_what_is_no_such_file_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PartsReader([content])
