"""Progress of a search: one live line in a terminal, plain lines in a log."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

from lora_qd.runs.progress import Progress

_SECONDS_BETWEEN_LINES = 15.0
"""In a log a line is printed this often."""


class SearchBar:
    """Shows stages and progress on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = float("-inf")
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("search", total=None, figures="", visible=False)

    def __enter__(self) -> "SearchBar":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def stage(self, sentence: str) -> None:
        """Say that something long begins."""
        self._console.print(f"{sentence} ...", soft_wrap=True)

    def show(self, progress: Progress) -> None:
        """Show how far the search is."""
        figures = describe(progress)
        self._bar.update(
            self._task,
            total=progress.num_total,
            completed=progress.num_done,
            figures=figures,
            visible=True,
        )
        if self._console.is_terminal:
            return
        now = time.monotonic()
        is_last = progress.num_done == progress.num_total
        if is_last or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            done = f"{progress.num_done:>5}/{progress.num_total}"
            self._console.print(f"{done}  {figures}", soft_wrap=True)


def describe(progress: Progress) -> str:
    """Return the figures of ``progress`` in one short line."""
    return (
        f"coverage {progress.coverage:.0%}  QD {progress.qd_score:.1f}  "
        f"best {progress.best_mean:.2f}  {progress.children_per_minute:.0f}/min  "
        f"{progress.tokens_per_second:.0f} tok/s  busy {progress.busy_share:.0%}  "
        + (f"cost {progress.money:.2f}  " if progress.money is not None else "")
        + f"left {_duration(progress.seconds_left)}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
