"""What a run with videos tells the user: which are there, what its end waits for, and which will not be made."""

from __future__ import annotations

from collections.abc import Callable

from raes.training.events import RunLog
from raes.training.videos import FINISH_SECONDS, FinishedVideo, Videos


class VideoReports:
    """Reports the videos of a run."""

    def __init__(self, videos: Videos, log: RunLog, notice: Callable[[str], None]) -> None:
        """Nothing is reported yet.

        Args:
            videos: of the run.
            log: takes the pictures.
            notice: shows a line.
        """
        self._videos, self._log, self._notice = videos, log, notice

    def newest(self) -> None:
        """Report the video that is done since the last call, if there is one."""
        if (video := self._videos.finished()) is not None:
            self._report(video)

    def finish(self, poll: Callable[[], bool]) -> None:
        """Wait for the last videos, unless the run was stopped, and name those that will not be made.

        Args:
            poll: called while it waits; whether the run is to stop.
        """
        why = "the run was stopped before it was done"
        if not poll():
            if (filming := self._videos.filming) is not None:
                self._notice(
                    f"training is done and saved; filming generation {filming[0]}, which may take up to "
                    f"{FINISH_SECONDS:g} s; Ctrl-C skips the video"
                )
            self._videos.wait(self._report, poll)
            late = f"it was not done after {FINISH_SECONDS:g} s; a smaller video.seconds makes it shorter"
            why = "skipped by Ctrl-C" if poll() else late
        self.abandon(why)
        if skipped := self._videos.skipped:
            self._notice(
                f"{skipped} video{'s were' if skipped > 1 else ' was'} skipped, since a newer one was due before: "
                "filming takes longer than video.every generations; a smaller video.seconds is faster"
            )

    def abandon(self, why: str) -> None:
        """Stop filming, and name each video that will not be made."""
        for generation in self._videos.abandon():
            self._notice(f"no video of generation {generation}: {why}")

    def _report(self, video: FinishedVideo) -> None:
        if video.gif is None:
            self._notice(f"no video of generation {video.generation}: {video.text}; training is not affected")
        else:
            self._notice(f"video of generation {video.generation} in videos/{f'; {video.text}' if video.text else ''}")
            self._log.video(video.generation, video.gif)
