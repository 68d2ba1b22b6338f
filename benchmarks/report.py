"""What it costs to look at a run: report and live page of 10,000 made-up children.

Run: ``python benchmarks/report.py``; two minutes. The children are invented (scores
drift upwards, four samples of each skill and split), so only reading, replaying,
drawing and sending are measured.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from sandbox import machine

sys.path.insert(0, str(Path(__file__).parents[1]))  # the runs of the tests

from lora_qd.dashboard.board import Board
from lora_qd.dashboard.report import write_report
from lora_qd.runs.following import Follower
from tests.dashboard.made_up import MadeUpRun

CHILDREN = 10_000
PER_SECOND = 50


def report_seconds(run: MadeUpRun, *, has_pictures: bool) -> tuple[float, int]:
    """Return the seconds of a report, and the bytes of its page."""
    start = time.perf_counter()
    path = write_report(run.directory.path, has_pictures=has_pictures)
    return time.perf_counter() - start, path.stat().st_size


def looks(run: MadeUpRun, num: int) -> tuple[list[float], list[int]]:
    """Return the seconds of each look, and the bytes that it sends to a browser."""
    board = Board(Follower(run.directory))
    number, seconds, sizes = board.number, [], []
    for _ in range(num):
        run.add(PER_SECOND)
        start = time.perf_counter()
        board.look()
        update = board.since(number)
        seconds.append(time.perf_counter() - start)
        if update is not None:
            number = update.number
            sizes.append(len(update.data))
    return seconds, sizes


def main() -> None:
    """Print one line for each number of skills."""
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        for skills in (2, 3, 5, 8):
            run = MadeUpRun(Path(scratch) / f"run-{skills}", skills).add(CHILDREN)
            run.finish()
            page, size = report_seconds(run, has_pictures=False)
            whole, _ = report_seconds(run, has_pictures=True)
            seconds, sizes = looks(run, 20)
            print(
                f"{skills} skills, {CHILDREN:,} children: page {page:.1f} s, "
                f"{size / 1e6:.2f} MB; with pictures {whole:.1f} s; a look at "
                f"{PER_SECOND} more {1e3 * statistics.median(seconds):.0f} ms, "
                f"sends {statistics.median(sizes) / 1e3:.0f} kB"
            )


if __name__ == "__main__":
    main()
