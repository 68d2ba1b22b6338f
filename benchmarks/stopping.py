"""What stopping early would have saved in a run that asked everything.

Run: ``python benchmarks/stopping.py runs/demo``. The ledger of a finished run without
stopping holds every answer, so the decisions are replayed as a search would have taken
them: same chunks, same archives. For the exact form that is what a search does, to the
token; a race changes what is bred later, so that its line is an estimate.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_qd.archive import GridArchive
from lora_qd.evaluation import Stopping
from lora_qd.records import Sample, Score, Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.history import replay_archives
from lora_qd.runs.run import Run
from lora_qd.runs.stopping import stopping_of
from lora_qd.store.ledger import ChildRow, Ledger

CELLS = (15, 8, 5, 3)
CHUNKS = (1, 8, 16)
ERRORS = (0.05, 0.2)
Outcomes = Mapping[str, Mapping[str, Score]]


@dataclass(slots=True)
class Saved:
    """Counts over the children of a run."""

    num_tokens: int = 0
    num_tokens_left: int = 0
    num_prompt: int = 0
    num_prompt_left: int = 0
    num_children: int = 0
    num_stopped: int = 0
    num_wrong: int = 0
    """Left although an archive would have taken it."""

    def count(self, score: Score, *, is_asked: bool) -> None:
        """Count the tokens of one sample."""
        self.num_tokens += score.num_tokens
        self.num_prompt += score.num_prompt_tokens
        if not is_asked:
            self.num_tokens_left += score.num_tokens
            self.num_prompt_left += score.num_prompt_tokens

    def __str__(self) -> str:
        """Return the cells of a table's row."""
        return (
            f"{self.num_stopped / self.num_children:6.0%} | "
            f"{self.num_tokens_left / self.num_tokens:6.1%} | "
            f"{self.num_prompt_left / self.num_prompt:6.1%} | {self.num_wrong:3d}"
        )


def asked_of(stopping: Stopping, outcomes: Outcomes) -> set[tuple[str, str]]:
    """Return the samples that a candidate is asked before it is left."""
    samples = {t: [Sample(i, "", "") for i in sorted(o)] for t, o in outcomes.items()}
    num_samples = {task: len(s) for task, s in samples.items()}
    values: dict[str, list[float]] = {task: [] for task in samples}
    asked: set[tuple[str, str]] = set()
    for chunk in stopping.chunks(samples):
        for task, part in chunk.items():
            asked |= {(task, sample.id) for sample in part}
            values[task] += [outcomes[task][sample.id].value for sample in part]
        if len(asked) == sum(num_samples.values()):
            break
        if stopping.may_leave(values, num_samples):
            break
    return asked


def proposed(
    run: Run, config: RunConfig
) -> Iterator[tuple[ChildRow, Mapping[str, GridArchive]]]:
    """Yield each bred child with the archives that it was proposed from."""
    search = config.search
    for row in run.children[config.num_seeds :]:
        number = (row.index - config.num_seeds) // search.batch
        num_seen = config.num_seeds + search.batch * max(0, number - search.lag)
        yield row, replay_archives(run.children[:num_seen], config).by_task


def measure(run: Run, config: RunConfig, outcomes: Sequence[Outcomes]) -> Saved:
    """Count what a form of stopping saves."""
    saved = Saved()
    for (row, archives), found in zip(proposed(run, config), outcomes, strict=True):
        stopping = stopping_of(config.search, config.seed, row.index, archives)
        every = {(task, i) for task, o in found.items() for i in o}
        if stopping is not None:
            asked = asked_of(stopping, found)
        else:  # the oracle
            asked = every if enters(run, config, row) else set()
        saved.num_children += 1
        saved.num_stopped += len(asked) < len(every)
        saved.num_wrong += len(asked) < len(every) and enters(run, config, row)
        for task, sample in every:
            saved.count(found[task][sample], is_asked=(task, sample) in asked)
    return saved


def enters(run: Run, config: RunConfig, row: ChildRow) -> bool:
    """Tell whether some archive takes a child when it is inserted."""
    before = replay_archives(run.children[: row.index], config)
    return any(before.tell(row.index, row.member, row.scores).values())


def main(path: Path) -> None:
    """Print one line per form."""
    run = Run.open(path)
    with Ledger(run.directory.ledger) as ledger:
        outcomes = [
            {s: ledger.outcomes(r.member, Split.SEARCH, s) for s in run.config.skills}
            for r in run.children[run.config.num_seeds :]
        ]
    forms = [("none", 1, 0.5)]
    for chunk in CHUNKS:
        forms += [("exact", chunk, 0.5), *(("race", chunk, e) for e in ERRORS)]
    print("cells | form   | chunk | error | children left | generated | prompt | wrong")
    for cells in CELLS:
        for form, chunk, error in forms:
            settings = {"stopping": form, "stopping_chunk": chunk, "cells": cells}
            search = run.config.search.model_validate(
                run.config.search.model_dump() | settings | {"stopping_error": error}
            )
            config = run.config.model_copy(update={"search": search})
            name = "oracle" if form == "none" else form
            shown = f"{error:5.2f}" if form == "race" else "    -"
            saved = measure(run, config, outcomes)
            print(f"{cells:5} | {name:6} | {chunk:5} | {shown} | {saved}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="what stopping early would save")
    parser.add_argument("run", type=Path, help="a finished run without stopping")
    main(parser.parse_args().run)
