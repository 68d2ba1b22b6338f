"""What the live page shows now, kept by one thread that reads the ledger.

Every chart has the number of the look at which it last changed, so that each browser
is sent what is new to it, and a slow one skips what was replaced meanwhile.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

from lora_qd.dashboard.page import headline, plain_json
from lora_qd.errors import LoraQDError
from lora_qd.runs.figures import Figure, Kind, Scale, figures_of
from lora_qd.runs.following import Follower, Snapshot

LOOK_EVERY_S = 0.5
"""A person sees no more, and two cores are left to the run."""
_MOST_SPEEDS = 240


@dataclass(frozen=True, slots=True)
class Update:
    """What a browser is sent."""

    number: int
    """Of the look; the next update begins after it."""
    data: str
    """JSON."""


class Board:
    """The newest look at a run; see the module's docstring."""

    def __init__(self, follower: Follower) -> None:
        """Look once.

        Raises:
            StoreError: the ledger cannot be read.
        """
        self._follower = follower
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._speeds = _Speeds()
        self._charts: dict[str, tuple[int, str]] = {}
        self._gone: dict[str, int] = {}
        self.head: dict[str, Any] = {}
        """What stands above and beside the charts."""
        self._number = 0
        self._last: object = None
        self.snapshot = follower.read()
        """The run at the last look that succeeded."""
        self._take_in(self.snapshot)

    @property
    def number(self) -> int:
        """Of the last look at which something had changed."""
        return self._number

    def start(self) -> threading.Thread:
        """Look again and again, until :meth:`stop`."""
        thread = threading.Thread(target=self._look_on, daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def since(self, number: int) -> Update | None:
        """Return what has changed after look ``number``; None if nothing has."""
        with self._lock:
            if self._number <= number:
                return None
            charts = [text for at, text in self._charts.values() if at > number]
            gone = [name for name, at in self._gone.items() if at > number]
            head = plain_json({**self.head, "gone": gone})
            data = f'{head[:-1]},"figures":[{",".join(charts)}]}}'
            return Update(self._number, data)

    def look(self) -> None:
        """Read what is new; what cannot be read is said on the page."""
        try:
            snapshot = self._follower.read()
        except LoraQDError as error:
            problem = f"The run cannot be read now, trying again: {error}"
            self._show({**self.head, "notes": [problem]})
            self._last = None
            return
        self._take_in(snapshot)

    def _look_on(self) -> None:
        pause_s = LOOK_EVERY_S
        while not self._stop.wait(pause_s):
            start = time.monotonic()
            self.look()
            # A look at eight large archives takes a second: most of a core stays free.
            pause_s = max(LOOK_EVERY_S, 2 * (time.monotonic() - start))

    def _take_in(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        if _state_of(snapshot) == self._last:
            return  # a run that stands still costs nothing to watch
        self._last = _state_of(snapshot)
        figures = figures_of(snapshot)
        speed = self._speeds.figure(snapshot)
        if speed:
            figures.append(speed)
        texts = {figure.id: plain_json(figure.plain()) for figure in figures}
        self._show(headline(snapshot, figures), texts)

    def _show(self, head: dict[str, Any], texts: dict[str, str] | None = None) -> None:
        with self._lock:
            number = self._number + 1
            known = self._charts if texts is None else texts
            changed = {
                name: (number, text)
                for name, text in (texts or {}).items()
                if self._charts.get(name, (0, ""))[1] != text
            }
            gone = {name: number for name in self._charts if name not in known}
            if not changed and not gone and head == self.head:
                return
            self._charts = {**self._charts, **changed}
            for name in gone:
                del self._charts[name]
            self._gone = {
                n: at
                for n, at in {**self._gone, **gone}.items()
                if n not in self._charts
            }
            self.head, self._number = head, number


def _state_of(snapshot: Snapshot) -> object:
    """Return what changes with everything that the page shows of a run."""
    story = snapshot.story
    counts = (len(story.rows), story.num_costs, story.config) if story else None
    return (
        *(story, counts, snapshot.status, snapshot.results, snapshot.sessions),
        len(snapshot.likeness),
    )


class _Speeds:
    """How many children a minute were scored while the page was watched."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seen: list[tuple[float, int]] = []

    def figure(self, snapshot: Snapshot) -> Figure | None:
        story = snapshot.story
        if story is None:
            return None
        now = time.monotonic() - self._start
        num = len(story.rows)
        if not self._seen or num != self._seen[-1][1]:
            self._seen.append((now, num))
        if len(self._seen) > 2 * _MOST_SPEEDS:
            self._seen = self._seen[::2]
        return Figure(
            id="throughput",
            section="Progress",
            title="Throughput while watched",
            summary="Members scored a minute since this page was opened.",
            kind=Kind.LINES,
            columns=("second", "members a minute"),
            rows=[
                (round(later, 1), round(60 * (n - m) / (later - earlier), 1))
                for (earlier, m), (later, n) in zip(
                    self._seen, self._seen[4:], strict=False
                )
            ],
            encoding={"x": "second", "y": "members a minute"},
            scales={"x": Scale("seconds"), "y": Scale("members a minute", 0.0)},
        )
