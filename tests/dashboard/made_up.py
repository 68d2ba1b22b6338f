"""Runs that never were, as large as needed: a ledger of invented children."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from lora_qd.records import StageSeconds, Usage
from lora_qd.runs.costs import Costs
from lora_qd.runs.results import Results, row, save_results
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory

SKILLS = ("code", "database", "shell", "law", "maths", "poetry", "sql", "travel")
NUM_SAMPLES = 4
"""Of each skill and split."""


class MadeUpRun:
    """A run directory that children are added to, as a search would."""

    def __init__(self, path, skills=3, *, budget=10_000, names=SKILLS, answer=None):
        self.directory = RunDirectory(Path(path))
        self.directory.path.mkdir(parents=True)
        self.skills = tuple(names[:skills])
        self.num = 0
        self._answer = answer
        self._rng = np.random.default_rng(skills)
        config = {
            "base": "none",
            "run": str(path),
            "experts_dir": "none",
            "skills": list(self.skills),
            "search": {"children": budget},
        }
        with Ledger(self.directory.ledger, is_writer=True) as ledger:
            ledger.write_manifest({"config": config, "seed": 1, "versions": {}})
            session = ledger.open_session({"config": config})
            ledger.keep_usage(session, Usage(seconds=60, busy_s=50, num_engines=1))

    def add(self, num):
        """Commit ``num`` more children in one transaction, unsynced."""
        with closing(sqlite3.connect(self.directory.ledger, timeout=30)) as db, db:
            db.execute("PRAGMA synchronous = OFF")
            for _ in range(num):
                self._add_one(db)
        return self

    def finish(self):
        """Write a final table, as a search does at its end."""
        with Ledger(self.directory.ledger) as ledger:
            children = ledger.children()
        best = max(children, key=lambda child: sum(child.scores.values()))
        with closing(sqlite3.connect(self.directory.ledger)) as db, db:
            for member in ("base", best.member, children[0].member):
                for split in ("validation", "test"):
                    self._score(db, member, split, dict.fromkeys(self.skills, 0.5))
        values = {skill: [0.0, 1.0, 1.0, 1.0] for skill in self.skills}
        named = {"base": "base", "expert": children[0].member, "best": best.member}
        results = Results(
            skills=self.skills,
            retention=(),
            rows=tuple(
                row(name, member, values, self.skills) for name, member in named.items()
            ),
            members={"balanced": best.member, self.skills[0]: best.member},
            num_samples=dict.fromkeys(self.skills, NUM_SAMPLES),
            costs=Costs(
                num_evaluations=1,
                num_prompt_tokens=1,
                num_tokens=1,
                stages=StageSeconds(),
                engine_s=60.0,
                busy_share=0.9,
                num_restarts=0,
                money=None,
            ),
            notes={"seed": "1"},
        )
        save_results(results, self.directory.results)
        return self

    def _add_one(self, db):
        index, rng = self.num, self._rng
        is_expert = index < len(self.skills)
        is_seed = index < len(self.skills) + 5
        member = self._member(index)
        middle = 0.35 + 0.3 * (1 - np.exp(-index / 2000))
        scores = {
            skill: float(np.clip(np.round(64 * rng.normal(middle, 0.12)) / 64, 0, 1))
            for skill in self.skills
        }
        if is_expert:
            scores = {s: 0.8 if i == index else 0.3 for i, s in enumerate(self.skills)}
        parents = []
        if not is_seed:
            parents = [self._member(int(rng.integers(0, index))) for _ in range(2)]
        recipe = (
            {"seed": member}
            if is_seed
            else {
                "shares": [0.4, 0.6],
                "gain": float(rng.normal(1, 0.1)),
                "tilt": float(rng.normal(1, 0.2)),
                "crossover": "linear",
                "mutation": "relative",
                "rng": "ab",
            }
        )
        task = "" if is_seed else self.skills[index % len(self.skills)]
        told = (json.dumps(x) for x in (parents, recipe, scores))
        db.execute(
            "INSERT INTO children (idx, member, task, parents, recipe, scores, genome) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (index, member, task, *told, f"{index:064x}"),
        )
        self._score(db, member, "search", scores)
        self.num += 1

    def _member(self, index):
        num = len(self.skills)
        if index < num:
            return f"expert-{self.skills[index]}"
        if index < num + 5:
            return f"merge-0.{index - num + 4}"
        return f"{index:05d}-{index:012x}"

    def _score(self, db, member, split, scores):
        db.executemany(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    member,
                    split,
                    skill,
                    f"{skill}-{i}",
                    float(i < score * NUM_SAMPLES),
                    "" if i < score * NUM_SAMPLES else "wrong",
                    self._answer or f"answer {i}",
                    90,
                    30,
                )
                for skill, score in scores.items()
                for i in range(NUM_SAMPLES)
            ],
        )
        db.execute(
            "INSERT INTO costs VALUES (?, ?, 0.5, 0.1, 0.1, 4.0, 0.5)", (member, split)
        )
