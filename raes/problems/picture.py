"""The pictures of a video: the rendered environment, next to what the agent sees if that is pixels, and a caption."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from raes.types import UInt8

LEAST_WIDTH = 320
"""Pixels; smaller pictures are enlarged to at least this, by whole numbers."""
BAR, LABEL, MARGIN, TEXT = 48, 22, 8, 15
"""In pixels: rows of the caption below, rows of the labels above, their margins, and the font size."""
BEHIND, BRIGHT, DIM = (24, 26, 30), (240, 240, 240), (160, 165, 175)
PERSON, AGENT = "what a person sees", "what the agent sees"


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
