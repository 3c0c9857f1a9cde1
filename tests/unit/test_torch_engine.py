"""The engine that holds a module: the same bits after every perturbation, whatever the history, and nothing hidden."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raes.models import held_tensor
from raes.models.engine import Direction, WeightsCorruptedError
from raes.models.held_tensor import dithered
from raes.models.safetensors_file import PartsReader
from raes.models.tensor_noise import HalfWordStream, TensorNoise, stream_key
from raes.models.torch_engine import TorchEngine, load_into
from raes.rng import Purpose
from raes.search import optimizers
from raes.search.optimizers import OptimizerSettings
from raes.types import UserError

from .models import PLAIN, Tied, an_update, likelihood, recipe, tied

DTYPES = ("float32", "bfloat16", "float16")
ADAM = OptimizerSettings("adam", stepsize=0.01, weight_decay=0.01)
MOMENTUM = OptimizerSettings("sgd", stepsize=0.1, momentum=0.9, weight_decay=0.0)


def bits(module: nn.Module) -> dict[str, bytes]:
    """All parameters and buffers."""
    return {name: one.clone().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            for name, one in module.state_dict().items()}  # fmt: skip


def file_of(engine: TorchEngine, size: int = 1000) -> list[bytes]:
    return [engine.save(start, min(start + size, engine.size)) for start in range(0, engine.size, size)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_200_perturbations_leave_every_bit(dtype: str) -> None:
    engine = TorchEngine(recipe(dtype))
    before, digest = bits(engine.module), engine.digest()
    for number in range(200):
        engine.perturb(Direction(number // 2, number // 2, (0.3, -0.3)[number % 2]))
        assert bits(engine.module) != before
        engine.restore()
        assert bits(engine.module) == before
    assert engine.digest() == digest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM, ADAM], ids=["plain", "momentum", "adam"])
@pytest.mark.parametrize("rank", [None, 2])
def test_other_histories_end_with_the_same_bits(dtype: str, optimizer: OptimizerSettings, rank: int | None) -> None:
    """One evaluates much, one nothing, one starts from a file in the middle, in parts of another size."""
    made = recipe(dtype, optimizer=optimizer, rank=rank)
    busy, idle, late = TorchEngine(made), TorchEngine(made), TorchEngine(made)
    for generation in range(50):
        for pair, scale in itertools.product(range(generation % 3), (0.1, -0.1)):
            busy.perturb(Direction(generation, pair, scale))
            busy.evaluate()
        if generation == 30:
            late.perturb(Direction(0, 0, 1.0))
            late.load(file_of(busy, 777))
        for engine in (busy, idle, *([late] if generation >= 30 else [])):
            engine.update(an_update(generation))
    assert busy.digest() == idle.digest() == late.digest()
    assert bits(busy.module) == bits(idle.module) == bits(late.module)
    assert b"".join(file_of(busy)) == b"".join(file_of(late))


@pytest.mark.parametrize("rank", [None, 2])
def test_no_bit_depends_on_the_length_of_blocks(rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, seen = set(), set()
    for length in (1 << 12, 1 << 16):
        monkeypatch.setattr(held_tensor, "BLOCK", length)
        engine = TorchEngine(recipe(build=lambda: _seeded(nn.Linear(300, 70)), reward=lambda model: 0.0, rank=rank))
        engine.update(an_update(0))
        digests.add(engine.digest())
        engine.perturb(Direction(1, 1, 0.1))
        seen.add(bits(engine.module)["weight"])
    assert len(digests) == len(seen) == 1


@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM, ADAM], ids=["plain", "momentum", "adam"])
def test_a_step_is_that_of_the_optimizers(optimizer: OptimizerSettings) -> None:
    engine = TorchEngine(recipe(optimizer=optimizer))
    name = "inner.weight"
    theta = engine.module.inner.weight.detach().numpy().ravel().copy()
    state = optimizers.init(optimizer, theta.size)
    for generation in range(3):
        update = an_update(generation)
        gradient = np.zeros_like(theta)
        for pair, weight in zip(update.pair.tolist(), update.weight, strict=True):
            key = stream_key(3, Purpose.MODEL_NOISE, generation, pair, name)
            noise = TensorNoise(key, (24, 24), None, torch.device("cpu")).fill(torch.empty(theta.size), 0).numpy()
            gradient += weight * noise
        step, state = optimizers.step(optimizer, state, theta, gradient, update.stepsize)
        theta = theta + step
        engine.update(update)
    assert np.allclose(engine.module.inner.weight.detach().numpy().ravel(), theta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize(("value", "step"), [(1.0, 1e-4), (1.5, -2e-4), (-1.0, 1e-4), (-0.02, 3e-6), (1e-5, 2e-8)])
def test_steps_that_are_too_small_for_the_dtype_are_right_on_average(dtype: str, value: float, step: float) -> None:
    kind = getattr(torch, dtype)
    start = float(torch.tensor(value).to(kind))
    values = torch.full((400_000,), start + step)
    assert float(values[0].to(kind)) == start  # rounded to nearest, every step is lost
    halves = HalfWordStream(stream_key(0, Purpose.ROUNDING, 0, 0, "w"), torch.device("cpu"))
    rounded = dithered(values, kind, halves.fill(torch.empty(400_000, dtype=torch.int32), 0))
    assert torch.equal(rounded.to(kind).float(), rounded)
    assert float(rounded.double().mean()) - start == pytest.approx(step, rel=0.1)


def test_tied_parameters_are_one_and_others_stay_untouched() -> None:
    engine = TorchEngine(recipe(parameters=("embedding.*", "inner.bias")))
    assert list(engine.trained) == ["embedding.weight", "inner.bias"]
    before = bits(engine.module)
    engine.update(an_update(0))
    after = bits(engine.module)
    assert engine.module.head.weight is engine.module.embedding.weight
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"embedding.weight", "head.weight", "inner.bias"}


def test_a_buffer_that_the_reward_changes_is_as_before_in_the_next_evaluation() -> None:
    def counts(model: Tied) -> float:
        model.norm.running_mean += 1
        return float(model.norm.running_mean[0])

    engine = TorchEngine(recipe(reward=counts))
    first = []
    for pair in range(3):
        engine.perturb(Direction(0, pair, 0.1))
        first.append(engine.evaluate())
    engine.restore()
    assert first == [1.0, 1.0, 1.0]
    assert float(engine.module.norm.running_mean[0]) == 0.0


@pytest.mark.parametrize("place", ["kept", "last"])
def test_a_flipped_bit_is_found_by_the_next_perturbation(place: str) -> None:
    engine = TorchEngine(recipe())
    digest = engine.digest()
    tensor = engine.trained["inner.weight"]
    tensor.kept.view(torch.int32)[0 if place == "kept" else -1] ^= 1 << 13
    assert engine.digest() != digest
    with pytest.raises(WeightsCorruptedError, match=r"inner\.weight"):
        engine.perturb(Direction(0, 0, 0.1))


def test_what_a_reward_writes_to_the_weights_is_noticed() -> None:
    engine = TorchEngine(recipe())
    engine.perturb(Direction(0, 0, 0.1))
    assert engine.changed == []
    with torch.no_grad():
        engine.module.inner.weight.mul_(2)
    assert engine.changed == ["inner.weight"]


def test_a_file_is_of_the_format_and_goes_into_a_module() -> None:
    engine = TorchEngine(recipe("bfloat16", optimizer=ADAM))
    engine.update(an_update(0))
    parts = file_of(engine)
    reader = PartsReader(parts)
    assert {one.name: one.dtype for one in reader.entries}["raes.moment1.inner.weight"] == "F32"
    assert reader.metadata["tied"] == '{"head.weight": "embedding.weight"}'
    other = tied("bfloat16")
    load_into(other, parts)
    assert bits(other)["inner.weight"] == bits(engine.module)["inner.weight"]
    with pytest.raises(ValueError, match="too early"):
        engine.load([part[:-1] for part in parts[-1:]] if len(parts) == 1 else parts[:-1])
    with pytest.raises(ValueError, match="other tensors"):
        TorchEngine(recipe("float32")).load(parts)


def test_a_module_may_be_trained_in_other_memory_formats() -> None:
    model = _seeded(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)
    engine = TorchEngine(recipe(build=lambda: model, reward=lambda model: 0.0))
    before = bits(engine.module)
    engine.perturb(Direction(0, 0, 0.1))
    engine.restore()
    assert bits(engine.module) == before


def _seeded(module: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    for one in module.parameters():
        nn.init.normal_(one)
    return module


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"parameters": ("inner.*", "layers.*")}, r"env\.parameters: layers\.\* matches no parameter"),
    ({"build": lambda: tied().double()}, r"embedding\.weight is of torch\.float64, for which there is no noise"),
    ({"build": lambda: 3}, "int, not a torch.nn.Module"),
    ({"build": lambda: nn.LazyLinear(3)}, "lazy"),
    ({"build": nn.ReLU}, "matches no parameter"),
    ({"device": "cuda"}, "finds no GPU here; set env.device=cpu"),
    ({"device": "fpga"}, "fpga: must be cpu or cuda"),
    ({"optimizer": OptimizerSettings("clipup", stepsize=0.1)}, "clipup: needs the norm"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words[:20] for _, words in WRONG])
def test_what_cannot_be_trained_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        TorchEngine(recipe(**changes))


def test_two_parameters_in_the_same_memory_are_refused() -> None:
    model = tied()
    model.second = nn.Parameter(model.inner.weight.data)
    with pytest.raises(UserError, match="share memory"):
        TorchEngine(recipe(build=lambda: model))


def test_a_reward_s_value_is_that_of_the_perturbed_module() -> None:
    engine = TorchEngine(recipe())
    engine.perturb(Direction(0, 0, 0.5))
    assert engine.evaluate(4) == likelihood(engine.module, 4) != likelihood(tied().eval(), 4)
