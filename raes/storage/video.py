"""Video files: mp4, complete or not there at all, and animated GIFs small enough for TensorBoard."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raes.types import UInt8

QUALITY = "23"
"""H.264's constant rate factor: lower is finer and larger."""
GIF_WIDTH, GIF_RATE, GIF_PICTURES = 320, 10.0, 100
"""Limits of an animated GIF: pixels, pictures per second, pictures in all."""


class Mp4File:
    """Writes pictures of one size to an mp4, which appears when it is complete; use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        """Nothing is written before the first picture.

        Args:
            path: ends with `.mp4`; an earlier file is replaced.
        """
        self._path, self._temporary = path, path.with_name(f".writing_{path.name}")
        self._container: Any = None
        self._stream: Any = None

    def add(self, picture: UInt8, rate: float) -> bool:
        """Add one picture.

        Args:
            picture: uint8 (rows, columns, 3), both even and the same for all.
            rate: pictures per second, the same for all.

        Returns:
            True: it accepts more.
        """
        import av

        if self._container is None:
            self._open(rate, *picture.shape[:2])
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            self._container.mux(packet)
        return True

    def _open(self, rate: float, rows: int, columns: int) -> None:
        import av

        self._path.parent.mkdir(exist_ok=True)
        self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "faststart"})
        options = {"crf": QUALITY, "preset": "veryfast"}
        self._stream = self._container.add_stream("libx264", Fraction(rate).limit_denominator(1000), options)
        self._stream.width, self._stream.height = columns, rows
        self._stream.pix_fmt = "yuv420p"  # what browsers play
        self._stream.codec_context.thread_count = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._container is None:
            return
        if kind is None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()
        if kind is None:
            self._temporary.rename(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


class AnimatedGif:
    """Collects a part of the pictures, scaled down, for one animated GIF."""

    def __init__(self) -> None:
        self._every, self._rate = 1, GIF_RATE
        self._count, self._kept = 0, list[Any]()

    def add(self, picture: UInt8, rate: float) -> bool:
        """Add one picture; arguments and result as of `Mp4File.add`."""
        from PIL import Image

        self._every, self._rate = max(1, round(rate / GIF_RATE)), rate
        if self._count % self._every == 0 and len(self._kept) < GIF_PICTURES:
            image = Image.fromarray(picture)
            image.thumbnail((GIF_WIDTH, 2 * GIF_WIDTH))
            self._kept.append(image.quantize(64))
        self._count += 1
        return True

    def content(self) -> bytes:
        """The GIF file's bytes; at least one picture must have been added."""
        buffer = io.BytesIO()
        first, *others = self._kept
        duration = round(1000 * self._every / self._rate)  # milliseconds
        first.save(buffer, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
        return buffer.getvalue()
