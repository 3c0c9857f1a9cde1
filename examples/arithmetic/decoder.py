"""A small decoder of about a million parameters, and sums as its tasks: all that the example needs of a language model.

A prompt is four tokens, `7 + 15 =`, an answer one. `pretrained` teaches the form by backpropagation: an answer is a
number, and more often one too large than right, as its text has it. `reward` is the share of right answers.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 30
"""Of the numbers that are added."""
PLUS, EQUALS, TOKENS = 2 * LARGEST + 1, 2 * LARGEST + 2, 2 * LARGEST + 3
"""Each number up to the largest sum is a token, then come the two signs."""
TOO_LARGE = 0.65
"""The share of the pretraining's answers that are one too large; the others are right."""
SPLIT = (LARGEST + 1) ** 2 * 4 // 5
"""Tasks for training; the others are held out."""
WIDTH, LAYERS, HEADS = 128, 5, 4


class Block(nn.Module):
    """Attention and a feed-forward layer, each with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    """From tokens (n, length) to logits (n, length, tokens); the output layer is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(4, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.05)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def prompts(tasks: list[tuple[int, int]]) -> Tensor:
    """int64 (n, 4)."""
    return torch.tensor([(a, PLUS, b, EQUALS) for a, b in tasks])


def sums(tasks: list[tuple[int, int]]) -> Tensor:
    """The right answers, int64 (n,)."""
    return torch.tensor([a + b for a, b in tasks])


@torch.no_grad()
def reward(model: nn.Module, tasks: list[tuple[int, int]]) -> float:
    """Exact match: the share of right answers."""
    return float((model(prompts(tasks))[:, -1].argmax(-1) == sums(tasks)).float().mean())


def all_tasks() -> list[tuple[int, int]]:
    """Every sum, in an order that depends on nothing."""
    every = [(a, b) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]
    random.Random(0).shuffle(every)
    return every


def training_tasks() -> list[tuple[int, int]]:
    """Four of five."""
    return all_tasks()[:SPLIT]


def held_out_tasks() -> list[tuple[int, int]]:
    """The others, which neither training sees."""
    return all_tasks()[SPLIT:]


def pretrained(steps: int, seed: int = 0) -> Decoder:
    """A decoder that backpropagation has taught the form of an answer."""
    torch.manual_seed(seed)
    model, chance, tasks = Decoder(), random.Random(seed), training_tasks()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(steps):
        batch = chance.sample(tasks, 128)
        shown = torch.tensor([a + b + (chance.random() < TOO_LARGE) for a, b in batch]).clamp(max=2 * LARGEST)
        loss = functional.cross_entropy(model(prompts(batch))[:, -1], shown)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def build(weights: str = "form.pt") -> Decoder:
    """The decoder with the weights that `python pretrain.py` has written."""
    model = Decoder()
    model.load_state_dict(torch.load(Path(weights), weights_only=True))
    return model
