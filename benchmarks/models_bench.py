"""`python -m benchmarks models [out=FILE.json] [width=768] [layers=12] [vocabulary=50257] [pairs=8] [workers=2]
[generations=2] [dtype=float32]`: a decoder of GPT-2's shape, randomly initialised, trained by seeds on CPUs.

Memory, each figure from a process of its own; CPU seconds outside the reward against one pass of noise over the
weights; and bytes through Ray of a few generations on real workers.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import psutil

from raes.algorithms import ESSettings, SeededES
from raes.bench.measurement import BenchArguments, BenchReport
from raes.console.tables import Column, Row, Section
from raes.models.engine import Direction, EngineRecipe
from raes.models.model_problem import ModelSpec
from raes.models.settings import ModuleSettings
from raes.runtime.ray_executor import RayExecutor
from raes.runtime.rounds import RoundRunner
from raes.runtime.scheduling import Size
from raes.runtime.session import attached
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats
from raes.search.optimizers import OptimizerSettings
from raes.tasks import ModelUpdate
from raes.types import Count

SEED = 0
TOKENS = 32
"""Length of the sequence that a reward reads."""
MIB = float(1 << 20)
PLAIN = OptimizerSettings("sgd", stepsize=0.001, momentum=0.0, weight_decay=0.0)
MEMORY = (
    Column("what", "MiB"),
    Column("weights", "weights", ",.0f"),
    Column("largest", "largest tensor", ",.0f"),
    Column("idle", "idle model", ",.0f"),
    Column("training", "in training", ",.0f"),
    Column("more", "more", ",.0f"),
    Column("allowed", "bar", ",.0f"),
)
TIME = (
    Column("what", "CPU seconds"),
    Column("noise", "noise alone", ".2f"),
    Column("perturb", "a pass of noise", ".2f"),
    Column("generation", "generation, per worker", ".2f"),
    Column("per_member", "per member / pass", ".2f"),
    Column("bar", "bar", ".2f"),
)
TRAFFIC = (
    Column("what", "on Ray"),
    Column("workers", "workers", "d"),
    Column("members", "members", "d"),
    Column("seconds", "s/generation", ".1f"),
    Column("bytes_per_member", "bytes/member", ",.0f"),
    Column("peak", "worker's peak, MiB", ",.0f"),
    Column("bar", "bar", ",.0f"),
)


@dataclass(frozen=True)
class ModelsBenchArguments(BenchArguments):
    """The keys; the defaults are GPT-2's, 124 million parameters.

    Attributes:
        width: of a layer.
        layers: of the decoder.
        vocabulary: its letters.
        pairs: of a generation.
        workers: on Ray.
        generations: on Ray, after a first one that is not measured.
        dtype: of the weights.
    """

    width: Count = 768
    layers: Count = 12
    vocabulary: Count = 50257
    pairs: Count = 8
    workers: Count = 2
    generations: Count = 2
    dtype: str = "float32"


def build(width: int, layers: int, vocabulary: int, dtype: str) -> Any:
    """A decoder of GPT-2's shape, with its tied output layer; the same weights each time."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters, self.places = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
            sizes: dict[str, Any] = {"d_model": width, "nhead": width // 64, "dim_feedforward": 4 * width}
            sizes |= {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
            block = nn.TransformerEncoderLayer(**sizes)
            self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.letters.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], dtype=self.places.weight.dtype)
            x = self.letters(tokens) + self.places.weight[: tokens.shape[1]]
            return self.head(self.blocks(x, mask=mask, is_causal=True)[:, -1:])  # type: ignore[no-any-return]

    return Decoder().to(getattr(torch, dtype)).eval()


def reward(model: Any) -> float:
    """How likely one letter is after a fixed sequence: a single forward pass."""
    import torch

    with torch.no_grad():
        return float(model(torch.arange(TOKENS)[None])[0, 0].float().log_softmax(-1)[7])


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def idle(shape: dict[str, Any]) -> dict[str, float]:
    """What a process takes that has built the model and evaluated it."""
    model = build(**shape)
    reward(model)
    sizes = [one.numel() * one.element_size() / MIB for one in model.parameters()]
    return {"peak": peak(), "weights": sum(sizes), "largest": max(sizes)}


def training(shape: dict[str, Any], pairs: int, workers: int) -> dict[str, float]:
    """What a worker takes and does in one generation: its share of the members, and the whole update."""
    from raes.models.torch_engine import TorchEngine

    engine = TorchEngine(EngineRecipe(partial(build, **shape), reward, SEED, PLAIN))
    members = 2 * pairs // workers
    passes = [_cpu(partial(engine.perturb, Direction(0, number // 2, 0.01))) for number in range(members)]
    engine.evaluate()
    update = ModelUpdate(0, np.arange(pairs), np.ones(pairs, np.float32), 0.001)
    rest = _cpu(engine.digest) + _cpu(lambda: engine.update(update)) + _cpu(engine.digest)
    noise = _cpu(lambda: _noise_alone(engine))
    return {"peak": peak(), "perturb": sum(passes) / members, "generation": sum(passes) + rest, "noise": noise}


def _noise_alone(engine: Any) -> None:
    """Make one perturbation's noise, and do nothing with it."""
    import torch

    for tensor in engine.trained.values():
        noise = engine._noise(0, 0, tensor)
        for start, stop in tensor._blocks():
            noise.fill(torch.empty(stop - start), start)


def _cpu(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def apart(call: str, *arguments: Any) -> dict[str, float]:
    """A function of this file in a process of its own."""
    given = json.dumps(json.dumps(arguments))
    code = f"import json; from benchmarks.models_bench import *; print(json.dumps({call}(*json.loads({given}))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def on_ray(shape: dict[str, Any], arguments: ModelsBenchArguments) -> Row:
    """A few generations on real workers."""
    settings = ESSettings(pairs=arguments.pairs, sigma=0.01, normalize_observations=False)
    names = ModuleSettings(build=":build", reward=":reward")
    model = ModelSpec(names, SEED, PLAIN, build_function=partial(build, **shape), reward=reward)
    search = SeededES(settings, PLAIN, SEED, 1, same_tasks=True)
    state = search.init(np.zeros(0, np.float32), running_stats.init(0))
    with attached("local", arguments.workers, 0), closing(_pool(WorkerSpec(model, SEED), arguments.workers)) as pool:
        runner, seconds, before = RoundRunner(pool), list[float](), replace(pool.counters)
        for number in range(arguments.generations + 1):
            if number == 1:
                before = replace(pool.counters)
            started, upcoming = time.perf_counter(), search.next_round(state)
            runner.open(upcoming)
            finished = runner.collect()
            assert finished is not None
            state, _ = search.tell(state, upcoming, finished.batch, _unused)
            seconds.append(time.perf_counter() - started)
        counted = pool.counters.since(before)
        most = max(_peaks("ray::RolloutActor"), default=0.0)
    return {
        "what": "a generation",
        "workers": arguments.workers,
        "members": 2 * arguments.pairs,
        "seconds": float(np.mean(seconds[1:])),
        "bytes_per_member": counted.ray_bytes / max(1, counted.episodes),
        "peak": most,
        "bar": 1000.0,
    }


def _pool(spec: WorkerSpec, workers: int) -> RayExecutor:
    return RayExecutor(spec, 1, Size.of(workers), relays=False, deadline=None)


def _unused(*_: Any, **__: Any) -> Any:
    raise AssertionError


def _peaks(title: str) -> list[float]:
    """The most memory of each process of this title, in MiB."""
    found = []
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).startswith(title):
                with open(f"/proc/{process.pid}/status") as status, closing(status):
                    found += [int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")]
        except (psutil.Error, OSError):
            continue
    return found


def run(arguments: ModelsBenchArguments) -> BenchReport:
    """All tables."""
    keys = asdict(arguments)
    shape = {key: keys[key] for key in ("width", "layers", "vocabulary", "dtype")}
    still, busy = apart("idle", shape), apart("training", shape, arguments.pairs, arguments.workers)
    allowed = 1.25 * still["weights"] + still["largest"]
    memory: Row = {
        "what": "a worker's process", "weights": still["weights"], "largest": still["largest"], "idle": still["peak"],
        "training": busy["peak"], "more": busy["peak"] - still["peak"], "allowed": allowed,
    }  # fmt: skip
    members = 2 * arguments.pairs / arguments.workers
    seconds: Row = {
        "what": f"{arguments.pairs} pairs, {arguments.workers} workers", "noise": busy["noise"],
        "perturb": busy["perturb"], "generation": busy["generation"],
        "per_member": busy["generation"] / members / busy["perturb"], "bar": 2.5,
    }  # fmt: skip
    title = f"{arguments.layers} layers of {arguments.width}, {arguments.vocabulary} letters, {arguments.dtype}"
    return BenchReport(
        "models",
        [
            Section("memory", f"{title}: the most memory", MEMORY, [memory]),
            Section("time", "Outside the reward, of one worker", TIME, [seconds]),
            Section("traffic", "Generations on Ray", TRAFFIC, [on_ray(shape, arguments)]),
        ],
    )
