"""The pictures of a video: the rendered environment, next to what the agent sees if that is pixels, and a caption."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from raes.types import UInt8

LEAST_WIDTH = 320
"""Pixels; smaller pictures are enlarged to at least this, by whole numbers."""
BAR, LABEL, MARGIN, TEXT = 48, 22, 8, 15
"""In pixels: rows of the caption below, rows of the labels above, their margins, and the font size."""
BEHIND, BRIGHT, DIM = (24, 26, 30), (240, 240, 240), (160, 165, 175)
CHANNELS = (1, 3, 4)
"""Numbers in a picture's element: grey, or red, green and blue, maybe with opacity."""
PERSON, AGENT = "what a person sees", "what the agent sees"


def to_rgb(frame: Any) -> UInt8:
    """What an environment's `render()` gives, as uint8 (rows, columns, 3).

    Args:
        frame: (rows, columns) or (rows, columns, c) or (c, rows, columns) with c = 1 (grey), 3 or 4 (without its
            opacity); numbers of 0 to 255, or floats of 0 to 1.

    Raises:
        TypeError: it is no picture.
    """
    picture = np.asarray(frame)
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.ndim == 3 and picture.shape[2] not in CHANNELS and picture.shape[0] in CHANNELS:
        picture = np.moveaxis(picture, 0, 2)
    if picture.ndim != 3 or picture.shape[2] not in CHANNELS or not picture.size or picture.dtype.kind not in "biuf":
        found = f"{type(frame).__name__} of shape {picture.shape} and type {picture.dtype}"
        raise TypeError(f"render() gives {found}, not a picture such as uint8 (rows, columns, 3)")
    if picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        if not 0 <= low <= high <= 255:
            raise TypeError(f"render() gives numbers of {low:g} to {high:g}; give 0 to 255, or floats of 0 to 1")
        scale = 255 if picture.dtype.kind in "bf" and high <= 1 else 1
        picture = np.rint(picture * np.float64(scale)).astype(np.uint8)
    return np.ascontiguousarray(picture[:, :, :3] if picture.shape[2] > 1 else picture.repeat(3, axis=2))


def side_by_side(screen: UInt8, observation: UInt8) -> UInt8:
    """Screen and observation at the same height, with labels, uint8 (rows, columns, 3).

    Args:
        screen: uint8 (rows, columns, 3).
        observation: uint8 (rows, columns), grey.
    """
    left = Image.fromarray(_enlarge(screen))
    right = Image.fromarray(observation).convert("RGB").resize((left.height, left.height), Image.Resampling.NEAREST)
    page = Image.new("RGB", (left.width + MARGIN + right.width, LABEL + left.height), BEHIND)
    draw = ImageDraw.Draw(page)
    for image, x, words in ((left, 0, PERSON), (right, left.width + MARGIN, AGENT)):
        page.paste(image, (x, LABEL))
        draw.text((x + MARGIN, LABEL / 2), words, DIM, _font(), anchor="lm")
    return np.asarray(page)


def add_caption(picture: UInt8, corners: tuple[str, str, str, str]) -> UInt8:
    """The picture above a caption with a text in each corner, uint8 (rows, columns, 3), both even.

    Args:
        picture: uint8 (rows, columns, 3).
        corners: upper left, upper right, lower left, lower right.
    """
    picture = _enlarge(picture)
    rows, columns = picture.shape[0] + BAR, picture.shape[1]
    page = Image.new("RGB", (columns + columns % 2, rows + rows % 2), BEHIND)  # H.264 halves rows and columns
    page.paste(Image.fromarray(picture))
    draw, top = ImageDraw.Draw(page), picture.shape[0]
    for number, words in enumerate(corners):
        x, anchor = (MARGIN, "lm") if number % 2 == 0 else (columns - MARGIN, "rm")
        draw.text(
            (x, top + BAR * (0.28 if number < 2 else 0.72)),
            words,
            DIM if number < 2 else BRIGHT,
            _font(),
            anchor=anchor,
        )
    return np.asarray(page)


def _enlarge(picture: UInt8) -> UInt8:
    times = -(-LEAST_WIDTH // picture.shape[1])
    return picture if times <= 1 else picture.repeat(times, axis=0).repeat(times, axis=1)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)
