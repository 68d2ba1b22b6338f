"""The server is killed again and again; the archives do not show it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from lora_qd.engines import VllmServer
from lora_qd.records import Split
from lora_qd.runs import engines as run_engines
from lora_qd.runs.config import load_config
from lora_qd.runs.evolve import Watcher, evolve
from lora_qd.runs.experts import load_experts
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from tests.runs.conftest import ROOT, SMALL

NUM_KILLS = 10


def told(run):
    """Return all that a run recorded of its members: parents, draws and answers."""
    with Ledger(run / "ledger.sqlite") as ledger:
        return [
            (row, {s: ledger.answers(row.member, Split.SEARCH, s) for s in row.scores})
            for row in ledger.children()
        ]


def vllm_pid(server: VllmServer) -> int:
    """Return the process below the supervisor: the API server with its engine."""
    tasks = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return int(tasks.read_text().split()[0])


class Killer:
    """Kills the server once per inserted member, with requests in flight."""

    def __init__(self, monkeypatch):
        self.servers, self.engines = [], []
        self.num_kills = 0
        self.is_due = asyncio.Event()

        def server(*args, **options):
            self.servers.append(VllmServer(*args, **options))
            return self.servers[-1]

        make_engine = run_engines.VllmEngine

        def engine(*args):
            self.engines.append(make_engine(*args))
            return self.engines[-1]

        monkeypatch.setattr(run_engines, "VllmServer", server)
        monkeypatch.setattr(run_engines, "VllmEngine", engine)

    def member_inserted(self, progress):
        self.is_due.set()

    async def run(self):
        while self.num_kills < NUM_KILLS:
            await self.is_due.wait()
            self.is_due.clear()
            [keeper] = [engine._keeper for engine in self.engines]
            while not keeper._num_calls or keeper._restart is not None:
                await asyncio.sleep(0.001)
            os.kill(vllm_pid(self.servers[0]), signal.SIGKILL)
            self.num_kills += 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_ten_times_leaves_the_same_archives(
    finished_run, tmp_path, monkeypatch
):
    undisturbed, _ = finished_run
    monkeypatch.chdir(ROOT)
    config = load_config(Path("configs/tiny.yaml"), SMALL)
    directory = RunDirectory(tmp_path)

    async def main():
        killer = Killer(monkeypatch)
        killing = asyncio.create_task(killer.run())
        watcher = Watcher(stage=lambda _: None, progress=killer.member_inserted)
        results = await evolve(config, load_experts(config), directory, watcher)
        killing.cancel()
        return results, killer

    results, killer = asyncio.run(main())
    assert killer.num_kills == NUM_KILLS
    assert told(tmp_path) == told(undisturbed)
    with Ledger(directory.ledger) as ledger:
        [usage] = ledger.sessions()
    assert usage.num_restarts == NUM_KILLS
    names = {row.name: row.mean.mean for row in results.rows}
    table = (undisturbed / "results.md").read_text()
    assert all(name in table for name in names)
    assert not list(tmp_path.glob("**/*.tmp"))
