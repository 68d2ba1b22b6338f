"""A whole run in a blink: random experts, answers that depend on cores alone."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from lora_qd.engines.fake import FakeEngine
from lora_qd.evaluation import Evaluator
from lora_qd.factors import LowRank
from lora_qd.records import Sample, Score
from lora_qd.runs.config import RunConfig
from lora_qd.runs.evolve import Watcher, evolve
from lora_qd.runs.experts import ExpertAdapter
from lora_qd.runs.session import Session
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from lora_qd.tasks.task import single_turn

SKILLS = ("code", "database", "shell")
MODULES = ("layers.0.q_proj", "layers.0.v_proj")
NUM_SAMPLES = 4


class CoresTask:
    """Scores a member by how near its cores lie to those that the task likes."""

    def __init__(self, name):
        self.name = name

    def samples(self, split):
        return [Sample(f"{split}-{i}", f"{i}", "") for i in range(NUM_SAMPLES)]

    async def run(self, sample, generate):
        (answer,) = await generate([single_turn(f"{self.name}-{sample.id}", 8)])
        return Score(float(answer.text), answer=answer.text)


def answer(member, request):
    """Return a score in text: smooth in the cores, another for every prompt."""
    prompt = request.messages[-1].content
    seed = int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    total = 0.0
    for module in MODULES if member else ():
        core = member.cores[module].astype(float)
        total += float(np.sum(core * rng.normal(size=core.shape)))
    return repr(0.5 + 0.5 * float(np.sin(total)))


def adapters(seed=0):
    """Return the experts: two modules of 8x8, rank 2."""
    rng = np.random.default_rng(seed)

    def update():
        return LowRank(rng.normal(size=(8, 2)), rng.normal(size=(2, 8)))

    vectors = {skill: {m: update() for m in MODULES} for skill in SKILLS}
    return {
        skill: ExpertAdapter(
            vector, 2, hashlib.sha256(repr(vector).encode()).hexdigest(), None
        )
        for skill, vector in vectors.items()
    }


def config(path, **changes):
    """Return a config of the synthetic world; ``changes`` by dotted key."""
    base = Path(path) / "base"
    base.mkdir(parents=True, exist_ok=True)
    (base / "config.json").write_text("{}")
    raw = {
        "base": str(base),
        "run": str(Path(path) / "run"),
        "experts_dir": str(Path(path) / "experts"),
        "skills": list(SKILLS),
        "merge_gains": [0.5, 0.7],
        "search": {"children": 12, "batch": 3, "lag": 1, "cells": 6},
        "finalists": 2,
        "engine": {"serve_rank": 4},
    }
    for key, value in changes.items():
        *sections, last = key.split("__")
        below = raw
        for section in sections:
            below = below.setdefault(section, {})
        below[last] = value
    return RunConfig.model_validate(raw)


@asynccontextmanager
async def open_synthetic(config, span, log):
    """Open a session without vLLM or sandbox."""
    tasks = {name: CoresTask(name) for name in (*config.skills, *config.retention)}
    evaluator = Evaluator([FakeEngine(answer)], tasks, in_flight=4)
    yield Session(span.space, span.experts, tasks, evaluator)


def nobody(_):
    """Watch without a word."""


def run(config, *, progress=nobody, stage=nobody, experts=None):
    """Run or go on with a synthetic search as the command line does."""
    directory = RunDirectory(config.run)
    with directory.lock():
        return asyncio.run(
            evolve(
                config,
                experts or adapters(),
                directory,
                Watcher(stage, progress),
                open_synthetic,
            )
        )


def footprint(path):
    """Return what must be the same however often a run was stopped."""
    with Ledger(Path(path) / "ledger.sqlite") as ledger:
        rows = ledger.children()
        costs = sorted((cost.member, cost.split) for cost in ledger.costs())
        outcomes = {key: ledger.values(*key) for key in costs}
        others = ledger.genomes()
    genomes = sorted(p.name for p in (Path(path) / "members").iterdir())
    return rows, costs, outcomes, others, genomes
