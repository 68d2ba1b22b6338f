"""The server is killed again and again; the archives do not show it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from lora_qd.engines import VllmEngine, VllmServer
from lora_qd.records import Split
from lora_qd.runs import engines as run_engines
from lora_qd.runs.config import load_config
from lora_qd.runs.evolve import Watcher, evolve
from lora_qd.runs.experts import load_experts
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from tests.runs.small import ROOT, SMALL

NUM_KILLS = 10
ANSWERS_BETWEEN = 4
"""Kills are so many answers apart: what is asked must be answered some time."""


def answers(ledger, member, skill):
    """Return what a member answered, by sample."""
    outcomes = ledger.outcomes(member, Split.SEARCH, skill)
    return {sample: outcome.answer for sample, outcome in outcomes.items()}


def told(run):
    """Return all that a run recorded of its members: parents, draws and answers."""
    with Ledger(run / "ledger.sqlite") as ledger:
        return [
            (row, {s: answers(ledger, row.member, s) for s in row.scores})
            for row in ledger.children()
        ]


def vllm_pid(server: VllmServer) -> int:
    """Return the process below the supervisor: the API server with its engine."""
    tasks = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return int(tasks.read_text().split()[0])


class KilledEngine(VllmEngine):
    """Loses its server again and again, each time with requests in flight."""

    num_kills = 0
    num_answers = 0

    def __init__(self, server, write_adapter):
        super().__init__(server, write_adapter)
        self._victim = server

    async def _complete(self, call, prompts):
        answers = await super()._complete(call, prompts)
        KilledEngine.num_answers += 1
        num_due = min(KilledEngine.num_answers // ANSWERS_BETWEEN, NUM_KILLS)
        is_up = self._keeper._restart is None
        if self.num_kills < num_due and self._keeper._num_calls and is_up:
            KilledEngine.num_kills += 1
            os.kill(vllm_pid(self._victim), signal.SIGKILL)
        return answers


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_ten_times_leaves_the_same_archives(
    finished_run, tmp_path, monkeypatch
):
    undisturbed, _ = finished_run
    monkeypatch.chdir(ROOT)
    config = load_config(Path("configs/tiny.yaml"), SMALL)
    directory = RunDirectory(tmp_path)
    monkeypatch.setattr(run_engines, "VllmEngine", KilledEngine)

    watcher = Watcher(stage=lambda _: None, progress=lambda _: None)
    results = asyncio.run(evolve(config, load_experts(config), directory, watcher))
    assert KilledEngine.num_kills == NUM_KILLS
    assert told(tmp_path) == told(undisturbed)
    with Ledger(directory.ledger) as ledger:
        [usage] = ledger.sessions()
    assert usage.num_restarts == NUM_KILLS
    names = {row.name: row.mean.mean for row in results.rows}
    table = (undisturbed / "results.md").read_text()
    assert all(name in table for name in names)
    assert not list(tmp_path.glob("**/*.tmp"))
