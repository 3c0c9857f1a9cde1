"""Evolution Strategies by seeds against REINFORCE, from the same decoder and with the same number of answers.

    python examples/arithmetic/pretrain.py
    python examples/arithmetic/compare.py [seeds=0,1,2] [generations=30] [workers=1] \
        [out=results/arithmetic.json] [picture=FILE.png]

In each generation 32 members answer the same 64 tasks, which are 2,048 answers; a step of REINFORCE draws 32 answers to
each of 64 tasks. Exact match is of the likeliest answers to the held-out tasks.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from decoder import build, held_out_tasks, prompts, reward, sums, training_tasks

import raes
from raes.storage.provenance import machine

FOLDER = Path(__file__).parent
PAIRS, TASKS, EVERY = 16, 64, 2
RATE = 3e-5
"""Of Adam, for REINFORCE: the best of 3e-5, 1e-4 and 3e-4 with seed 100."""


def by_seeds(seed: int, generations: int, workers: int) -> dict[str, Any]:
    """Exact match along a run of RAES."""
    started, cpu = time.perf_counter(), time.process_time()
    where: dict[str, Any] = {"runtime": "serial"} if workers == 1 else {"workers": workers}
    with TemporaryDirectory() as folder:
        run = raes.fit(
            env="module", env__build="decoder:build", env__kwargs={"weights": str(FOLDER / "form.pt")},
            env__reward="decoder:reward", env__tasks="decoder:training_tasks", env__held_out="decoder:held_out_tasks",
            env__tasks_per_call=TASKS, env__batched=True, algorithm__pairs=PAIRS, algorithm__shaping="zscore",
            algorithm__sigma=0.01, optimizer__stepsize=0.005, evaluation__every=EVERY, evaluation__episodes=8,
            generations=generations, seed=seed, run_dir=f"{folder}/run", console="quiet", **where,
        )  # fmt: skip
        steps, values = run.curve("eval/return_mean", "progress/generation")
    used = time.process_time() - cpu if workers == 1 else None
    return {
        "generations": steps.tolist(), "exact_match": values.tolist(), "cpu_seconds": used,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip


def by_reinforce(seed: int, generations: int) -> dict[str, Any]:
    """Exact match along a REINFORCE of as many answers, each against the mean of the others to its task."""
    started, cpu = time.perf_counter(), time.process_time()
    torch.manual_seed(seed)
    model, chance, members = build(str(FOLDER / "form.pt")), random.Random(seed), 2 * PAIRS
    optimizer, steps, values = torch.optim.Adam(model.parameters(), lr=RATE), [], []
    for step in range(generations + 1):
        if step % EVERY == 0:
            steps.append(step)
            values.append(reward(model, held_out_tasks()))
        tasks = chance.sample(training_tasks(), TASKS)
        spread = torch.distributions.Categorical(logits=model(prompts(tasks))[:, -1])
        drawn = spread.sample((members,))
        right = (drawn == sums(tasks)).float()
        others = (right.sum(0) - right) / (members - 1)
        loss = -((right - others) * spread.log_prob(drawn)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {
        "generations": steps, "exact_match": values, "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip


def draw(rows: list[dict[str, Any]], path: str) -> None:
    """Exact match against generations, one line per seed and method (needs raes[plot])."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name, label, colour in (("seeds", "ES by seeds", "C0"), ("reinforce", "REINFORCE", "C1")):
        for number, row in enumerate(rows):
            shown = label if not number else None
            axes.plot(row[name]["generations"], row[name]["exact_match"], color=colour, label=shown)
    axes.set(xlabel="generation", ylabel="right answers", ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main(words: list[str]) -> None:
    """Run both for each seed, print the figures and write them."""
    given = {"seeds": "0,1,2", "generations": "30", "workers": "1", "out": "", "picture": ""} | dict(
        one.split("=", 1) for one in words
    )
    generations, rows = int(given["generations"]), []
    torch.set_num_threads(1)
    for seed in map(int, given["seeds"].split(",")):
        found = {
            "seeds": by_seeds(seed, generations, int(given["workers"])),
            "reinforce": by_reinforce(seed, generations),
        }
        rows.append({"seed": seed} | found)
        for name, one in found.items():
            first, last = one["exact_match"][0], one["exact_match"][-1]
            cpu = "" if one["cpu_seconds"] is None else f", {one['cpu_seconds']:.0f} CPU seconds"
            print(f"seed {seed}, {name}: {100 * first:.0f} % -> {100 * last:.0f} % right{cpu}", flush=True)
    if given["picture"]:
        draw(rows, given["picture"])
    if given["out"]:
        content = {
            "command": f"python examples/arithmetic/compare.py {' '.join(words)}",
            "machine": machine(),
            "runs": rows,
        }
        Path(given["out"]).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
