"""What an environment's render() may give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raes.problems.picture import to_rgb

RGB = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
GREY = RGB[:, :, 0]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (RGB, RGB),
        (np.moveaxis(RGB, 2, 0), RGB),
        (np.dstack([RGB, np.full((5, 6), 9, np.uint8)]), RGB),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[:, :, None], np.dstack([GREY] * 3)),
        (GREY[None], np.dstack([GREY] * 3)),
        (RGB / 255.0, RGB),
        ((RGB / 255.0).astype(np.float32), RGB),
        (RGB.astype(np.float64), RGB),
        (RGB.astype(np.int64), RGB),
        (RGB.tolist(), RGB),
        (np.eye(4, dtype=bool), np.dstack([255 * np.eye(4)] * 3)),
    ],
    ids=["as it is", "channels first", "opacity", "grey", "h w 1", "1 h w", "0 to 1", "float32", "floats", "integers",
         "lists", "bool"],
)  # fmt: skip
def test_pictures_in_every_usual_form(frame: Any, expected: np.ndarray) -> None:
    found = to_rgb(frame)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (None, "NoneType of shape ()"),
        ("text", "str of shape ()"),
        (np.zeros((2, 5, 6, 3), np.uint8), "ndarray of shape (2, 5, 6, 3)"),
        (np.zeros((5, 6, 2), np.uint8), "ndarray of shape (5, 6, 2)"),
        (np.zeros((0, 6, 3), np.uint8), "ndarray of shape (0, 6, 3)"),
        (RGB - 300.0, "numbers of -300 to -211; give 0 to 255, or floats of 0 to 1"),
        (RGB + np.nan, "numbers of nan to nan"),
    ],
)
def test_what_is_no_picture_is_named_with_shape_and_type(frame: Any, words: str) -> None:
    with pytest.raises(TypeError, match="render\\(\\) gives") as caught:
        to_rgb(frame)
    assert words in str(caught.value)
