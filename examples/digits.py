"""Supervised learning by Evolution Strategies: a classifier of handwritten digits, compared with backpropagation.

    python examples/digits.py [accuracy=0.95] [hidden=32] [batch=256] [seed=0] [mnist=FOLDER] [out=FILE.json]

It shows a loop of `raes.Optimizer` around a PyTorch module. Both methods train the same network on the same
minibatches until it reaches a test accuracy. The program prints how many passes over the training images and how many
seconds each took. An evaluation of a perturbed network on a minibatch counts as a pass over that minibatch. Digits:
those of scikit-learn (1,797 images of 8 x 8), or the four idx files of MNIST in a folder. Needs `pip install
'raes[examples]'`.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import raes
from raes.config.cli import check_out, complain, parse
from raes.search.optimizers import OptimizerSettings
from raes.storage.provenance import machine
from raes.types import UserError

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class DigitsArguments:
    """The command line.

    Attributes:
        accuracy: test accuracy at which training stops.
        hidden: units of the one hidden layer.
        batch: images per step.
        seed: of everything.
        mnist: a folder with the idx files; None for scikit-learn's digits.
        pairs, sigma, stepsize: of the evolution strategy.
        epochs: passes over the training images after which training stops.
        out: a JSON file for the results.
    """

    accuracy: float = 0.95
    hidden: int = 32
    batch: int = 256
    seed: int = 0
    mnist: str | None = None
    pairs: int = 50
    sigma: float = 0.05
    stepsize: float = 0.02
    epochs: float = 100_000.0
    out: str | None = None


@dataclass(frozen=True)
class Digits:
    """Images, float32 (n, pixels) in [0, 1], and labels, int64 (n,)."""

    images: Float32
    labels: Int64
    test_images: Float32
    test_labels: Int64


@dataclass(frozen=True)
class Result:
    """The result of one method."""

    method: str
    accuracy: float
    epochs: float
    seconds: float
    steps: int


def load(folder: str | None, seed: int) -> Digits:
    """MNIST from a folder, or scikit-learn's digits, a fifth of them for the test."""
    if folder is not None:
        names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        images, labels, test_images, test_labels = (_idx(Path(folder), f"{name}-ubyte") for name in names)
        return Digits(
            _scaled(images, 255), labels.astype(np.int64), _scaled(test_images, 255), test_labels.astype(np.int64)
        )
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    images, labels = _scaled(bunch.data, 16), bunch.target.astype(np.int64)
    return Digits(images[train], labels[train], images[test], labels[test])


def _scaled(images: NDArray[np.generic], most: int) -> Float32:
    return (images.reshape(len(images), -1) / np.float32(most)).astype(np.float32)


def _idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """An idx file, plain or gzipped: magic number, sizes, bytes."""
    packed = folder / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    axes = content[3]
    sizes = np.frombuffer(content, ">i4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)


class Classifier:
    """One hidden layer of tanh units, in numpy, from one vector of parameters."""

    def __init__(self, pixels: int, hidden: int) -> None:
        self._shapes = [(pixels, hidden), (hidden,), (hidden, 10), (10,)]
        self.size = sum(int(np.prod(shape)) for shape in self._shapes)

    def initial(self, rng: np.random.Generator) -> Float32:
        """Weights of variance 1 / inputs, biases zero."""
        parts = [
            rng.standard_normal(shape) / np.sqrt(shape[0]) if len(shape) == 2 else np.zeros(shape)
            for shape in self._shapes
        ]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)

    def parts(self, theta: Float32) -> list[Float32]:
        """The matrices and biases in theta."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(theta, ends[:-1]), self._shapes, strict=True)]

    def logits(self, theta: Float32, images: Float32) -> Float32:
        """float32 (n, 10)."""
        first, first_bias, second, second_bias = self.parts(theta)
        result: Float32 = np.tanh(images @ first + first_bias) @ second + second_bias
        return result

    def log_likelihood(self, theta: Float32, images: Float32, labels: Int64) -> float:
        """Mean over the images."""
        logits = self.logits(theta, images)
        logits = logits - logits.max(axis=1, keepdims=True)
        return float((logits[np.arange(len(labels)), labels] - np.log(np.exp(logits).sum(axis=1))).mean())

    def accuracy(self, theta: Float32, digits: Digits) -> float:
        """On the test images."""
        return float((self.logits(theta, digits.test_images).argmax(axis=1) == digits.test_labels).mean())


def by_evolution(digits: Digits, arguments: DigitsArguments) -> Result:
    """Train by ES; all members of a generation are evaluated on the same minibatch."""
    model, rng = Classifier(digits.images.shape[1], arguments.hidden), np.random.default_rng(arguments.seed)
    adam = OptimizerSettings(stepsize=arguments.stepsize, weight_decay=0.0)
    search = raes.Optimizer(
        "es", model.initial(rng), seed=arguments.seed, optimizer=adam, pairs=arguments.pairs, sigma=arguments.sigma,
        sigma_decay=1.0,
    )  # fmt: skip
    epochs, seconds, steps, accuracy = 0.0, 0.0, 0, 0.0
    while accuracy < arguments.accuracy and epochs < arguments.epochs:
        begun = time.perf_counter()
        batch = rng.choice(len(digits.labels), arguments.batch, replace=False)
        images, labels = digits.images[batch], digits.labels[batch]
        candidates = search.ask()
        search.tell([model.log_likelihood(x.astype(np.float32), images, labels) for x in candidates])
        seconds += time.perf_counter() - begun
        steps, epochs = steps + 1, epochs + len(candidates) * arguments.batch / len(digits.labels)
        accuracy = model.accuracy(search.theta.astype(np.float32), digits)
    return Result("evolution strategies", accuracy, epochs, seconds, steps)


def by_backpropagation(digits: Digits, arguments: DigitsArguments) -> Result:
    """Train by Adam on the same loss, from the same initial parameters."""
    model, rng = Classifier(digits.images.shape[1], arguments.hidden), np.random.default_rng(arguments.seed)
    first, first_bias, second, second_bias = (torch.from_numpy(part) for part in model.parts(model.initial(rng)))
    network = nn.Sequential(nn.Linear(*first.shape), nn.Tanh(), nn.Linear(*second.shape))
    for parameter, start in zip(network.parameters(), (first.T, first_bias, second.T, second_bias), strict=True):
        parameter.data = start.contiguous()
    adam, loss = torch.optim.Adam(network.parameters(), lr=0.01), nn.CrossEntropyLoss()
    test_images, test_labels = torch.from_numpy(digits.test_images), torch.from_numpy(digits.test_labels)
    epochs, seconds, steps, accuracy = 0.0, 0.0, 0, 0.0
    while accuracy < arguments.accuracy and epochs < arguments.epochs:
        begun = time.perf_counter()
        batch = rng.choice(len(digits.labels), arguments.batch, replace=False)
        images, labels = torch.from_numpy(digits.images[batch]), torch.from_numpy(digits.labels[batch])
        adam.zero_grad()
        loss(network(images), labels).backward()
        adam.step()
        seconds += time.perf_counter() - begun
        steps, epochs = steps + 1, epochs + arguments.batch / len(digits.labels)
        with torch.no_grad():
            accuracy = float((network(test_images).argmax(dim=1) == test_labels).float().mean())
    return Result("backpropagation", accuracy, epochs, seconds, steps)


def main() -> None:
    """Train by both methods, print and compare the results."""
    try:
        arguments = parse(DigitsArguments, sys.argv[1:], "digits", __doc__)
        check_out(arguments.out)
        digits = load(arguments.mnist, arguments.seed)
    except (UserError, OSError) as error:
        sys.exit(complain(str(error)))
    torch.set_num_threads(1)
    results = [method(digits, arguments) for method in (by_backpropagation, by_evolution)]
    for one in results:
        print(f"{one.method:21s} accuracy {one.accuracy:.4f}  {one.epochs:9.1f} epochs  {one.seconds:8.3f} s")
    other, own = results
    epochs, seconds = own.epochs / other.epochs, own.seconds / other.seconds
    print(f"evolution strategies take {epochs:.0f} times the epochs and {seconds:.0f} times the time")
    if arguments.out is not None:
        content = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "arguments": asdict(arguments)}
        content |= {"runs": [asdict(one) for one in results]}
        Path(arguments.out).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
