"""The resize by area: compared with whole-number arithmetic and with OpenCV."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from raes.problems.resize import AreaResize, block_weights
from raes.types import UInt8

SCREENS = [(210, 160), (214, 160), (220, 160), (230, 160), (250, 160)]
"""Rows and columns of all games of ale-py."""


def shrunk(frame: UInt8, target: tuple[int, int]) -> UInt8:
    out = np.empty(target, np.uint8)
    AreaResize(frame.shape, target)(frame, out)  # type: ignore[arg-type]
    return out


def exact_means(frame: UInt8, target: tuple[int, int]) -> np.ndarray:  # type: ignore[type-arg]
    """The mean of the area of each target pixel as fractions, worked out cell by cell."""

    def weights(source: int, count: int) -> np.ndarray:  # type: ignore[type-arg]
        size = Fraction(source, count)
        rows = [
            [max(Fraction(0), min((i + 1) * size, Fraction(j + 1)) - max(i * size, Fraction(j))) / size
             for j in range(source)] for i in range(count)
        ]  # fmt: skip
        return np.array(rows, dtype=object)

    return weights(frame.shape[0], target[0]) @ frame.astype(object) @ weights(frame.shape[1], target[1]).T


@pytest.mark.parametrize(("source", "target"), [((10, 8), (4, 3)), ((21, 16), (8, 8)), ((7, 9), (7, 9))])
def test_each_pixel_is_the_rounded_mean_of_its_area(source: tuple[int, int], target: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, source, dtype=np.uint8)
    means = exact_means(frame, target)
    np.testing.assert_array_equal(shrunk(frame, target), [[round(mean) for mean in row] for row in means])


@pytest.mark.parametrize("source", SCREENS)
def test_it_differs_from_opencv_where_a_mean_lies_halfway_and_nowhere_else(source: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, source, dtype=np.uint8)
    ours, theirs = shrunk(frame, (84, 84)), cv2.resize(frame, (84, 84), interpolation=cv2.INTER_AREA)
    rows, columns = np.nonzero(ours != theirs)
    assert len(rows) < 0.005 * ours.size
    down, across = block_weights(source[0], 84), block_weights(source[1], 84)
    blocks = frame.reshape(len(frame) // down.shape[1], down.shape[1], -1, across.shape[1]).astype(float)
    sums = np.einsum("rp,apbq,cq->arbc", down, blocks, across).reshape(84, 84)
    means = sums / (down[0].sum() * across[0].sum())
    for row, column in zip(rows, columns, strict=True):
        assert means[row, column] % 1 == 0.5
        assert abs(int(ours[row, column]) - int(theirs[row, column])) == 1


@pytest.mark.parametrize("value", [0, 1, 127, 255])
def test_a_flat_frame_stays_flat(value: int) -> None:
    assert np.all(shrunk(np.full((210, 160), value, np.uint8), (84, 84)) == value)
