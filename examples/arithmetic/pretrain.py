"""Teach the decoder the form of an answer by backpropagation: `python examples/arithmetic/pretrain.py`, 2 to 4 minutes.

It writes `form.pt` next to this file, from which both searches start. Its answers are numbers, and most of them are one
too large.
"""

from __future__ import annotations

from pathlib import Path

import torch
from decoder import held_out_tasks, pretrained, reward, training_tasks

STEPS = 2500
FORM = Path(__file__).with_name("form.pt")


def main() -> None:
    """Train, write, and print how often the answers are right."""
    torch.set_num_threads(1)
    model = pretrained(STEPS)
    torch.save(model.state_dict(), FORM)
    print(f"{FORM.name}: {sum(one.numel() for one in model.parameters()):,} parameters")
    for name, tasks in (("training", training_tasks()), ("held-out", held_out_tasks())):
        print(f"right answers, {name} tasks: {100 * reward(model, tasks):.0f} %")


if __name__ == "__main__":
    main()
