"""Kills synthetic runs at random instants and lets them go on: ``python -m``.

A program of its own: it imports once and forks every run, which pytest's process, full
of threads, should not. Prints one JSON line.
"""

import json
import os
import random
import select
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path

import torch

from tests.runs import synthetic

POINTS = ("write", "fsync", "replace", "unlink", "BEGIN", "INSERT", "COMMIT")
"""Where a fault may strike, just before, half way or just after."""
LONGEST_S = 20


def main():
    folder, num_crashes, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    rng = random.Random(seed)
    start = time.monotonic()
    whole = synthetic.config(folder / "whole")
    spawn(whole, None)
    duration = time.monotonic() - start
    told = {"crashes": 0, "at": {}, "wrong": []}
    case = 0
    while told["crashes"] < num_crashes:
        case += 1
        config = synthetic.config(folder / str(case))
        for _ in range(rng.choice([1, 2, 4])):
            kind = rng.choice(["instant", "point", "race"])
            point = None if kind == "instant" else rng.choice(POINTS)
            count = rng.randrange(1, rng.choice([4, 30]))
            killed = spawn(config, (kind, point, count, rng.uniform(0, duration)))
            told["crashes"] += killed
            told["at"][point or kind] = told["at"].get(point or kind, 0) + killed
        spawn(config, None)
        told["wrong"] += differences(case, config.run, whole.run)
    sys.stdout.write(json.dumps(told) + "\n")


def differences(case, run, whole):
    """Return what differs from the undisturbed run, as sentences."""
    names = [sorted(p.name for p in d.iterdir()) for d in (run, whole)]
    found = [f"case {case}: files {names[0]}"] if names[0] != names[1] else []
    if synthetic.footprint(run) != synthetic.footprint(whole):
        found.append(f"case {case}: children, outcomes or genomes differ")
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):  # of these two readers
        (run / name).unlink(missing_ok=True)
        (whole / name).unlink(missing_ok=True)
    tables = [(d / "results.md").read_text().split("minutes")[0] for d in (run, whole)]
    return found if tables[0] == tables[1] else [*found, f"case {case}: table differs"]


def spawn(config, fault):
    """Run ``config`` in a fork, kill it by ``fault``; return whether it was killed."""
    listening, speaking = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listening)
        run_with(config, fault, speaking)
    os.close(speaking)
    wait_then_kill(child, fault, listening)
    os.close(listening)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status != 0:
        raise SystemExit(f"a run ended with status {status} after {fault}")
    return False


def wait_then_kill(child, fault, listening):
    """Kill after a time, or soon after the run says that it reached its point."""
    if fault is None or fault[0] == "point":
        return
    kind, _, _, delay = fault
    if kind == "instant":
        select.select([listening], [], [], delay)
    elif os.read(listening, 1):
        time.sleep(delay / 300)
    else:
        return
    os.kill(child, signal.SIGKILL)


def run_with(config, fault, speaking):
    """Be the run: never returns."""
    status = 1
    try:
        if fault is not None and fault[0] != "instant":
            strike_at(*fault[:3], speaking)
        synthetic.run(config)
        status = 0
    except Exception:  # noqa: BLE001 - shown, and the parent sees the status
        traceback.print_exc()
    finally:
        os._exit(status)


def strike_at(kind, point, count, speaking):
    """Arrange that the run is hit at the ``count``-th time that it does ``point``."""
    left = [count]

    def is_now(done):
        left[0] -= done == point
        return done == point and left[0] == 0

    def hit():
        if kind == "race":
            os.write(speaking, b"!")
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    is_early = count % 2 == 0
    strike_files(is_now, hit, is_early)
    strike_database(is_now, hit, is_early)


def strike_files(is_now, hit, is_early):
    sync, replace, unlink, opened = os.fsync, Path.replace, Path.unlink, Path.open

    def struck(name, call):
        def instead(*arguments, **more):
            now = is_now(name)
            if now and is_early:
                hit()
            result = call(*arguments, **more)
            if now:
                hit()
            return result

        return instead

    def open_struck(path, mode="r", *rest, **more):
        file = opened(path, mode, *rest, **more)
        if mode == "wb" and is_now("write"):
            write = file.write
            return HalfFile(file, lambda content: (write(content), file.flush(), hit()))
        return file

    os.fsync = struck("fsync", sync)
    Path.replace, Path.unlink = struck("replace", replace), struck("unlink", unlink)
    Path.open = open_struck


class HalfFile:
    """A file that is struck when half of its content is written."""

    def __init__(self, file, write_half):
        self._file, self._write_half = file, write_half

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        self._write_half(content[: len(content) // 2])
        return self._file.write(content[len(content) // 2 :])


def strike_database(is_now, hit, is_early):
    connect = sqlite3.connect

    class Struck(sqlite3.Connection):
        def execute(self, statement, *values):
            return self._maybe_struck(super().execute, statement, values)

        def executemany(self, statement, *values):
            return self._maybe_struck(super().executemany, statement, values)

        def _maybe_struck(self, call, statement, values):
            now = is_now(statement.split()[0])
            if now and is_early:
                hit()
            result = call(statement, *values)
            if now:
                hit()
            return result

    sqlite3.connect = lambda *a, **more: connect(*a, factory=Struck, **more)


if __name__ == "__main__":
    main()
