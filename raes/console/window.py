"""A window that shows pictures at their pace, where there is a display."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from raes.types import UInt8

PROBE = "import pygame; pygame.display.init(); print('driver', pygame.display.get_driver())"
PROBE_SECONDS = 60.0


def has_display() -> bool:
    """Whether a window can open; tried in a process of its own, which a broken display may end."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    driver = done.stdout.rpartition("driver ")[2].strip()
    return done.returncode == 0 and driver not in ("dummy", "offscreen")


class Window:
    """Opens with its first picture; closed by its button, by Escape or by Q."""

    def __init__(self, title: str) -> None:
        self._title, self._due = title, 0.0

    def show(self, picture: UInt8, rate: float) -> bool:
        """Show a picture until the next one is due.

        Args:
            picture: uint8 (rows, columns, 3).
            rate: pictures a second.

        Returns:
            Whether the window is still open.
        """
        import pygame

        size = (picture.shape[1], picture.shape[0])
        pygame.display.init()  # environments that draw with pygame end it with their episode
        screen = pygame.display.get_surface()
        if screen is None or screen.get_size() != size:
            screen = pygame.display.set_mode(size, pygame.SCALED | pygame.RESIZABLE)
            pygame.display.set_caption(self._title)
        screen.blit(pygame.image.frombuffer(picture.tobytes(), size, "RGB"), (0, 0))
        pygame.display.flip()
        now = time.perf_counter()
        self._due = max(self._due, now - 0.1) + 1 / rate  # a slow picture is not made up for by a rush
        time.sleep(max(0.0, self._due - now))
        closing = (event.type == pygame.QUIT or _leaves(event) for event in pygame.event.get())
        return not any(closing)

    def close(self) -> None:
        """Close the window."""
        import pygame

        pygame.display.quit()


def _leaves(event: object) -> bool:
    import pygame

    return getattr(event, "type", None) == pygame.KEYDOWN and getattr(event, "key", None) in (
        pygame.K_ESCAPE,
        pygame.K_q,
    )
