"""What it costs to record a run: inserts, replay, bytes; beside JSON files.

Run: ``python benchmarks/ledger.py [--directory DIR]``; a few minutes, some 400 MB. The
directory must be on a real disk for the synced inserts to mean anything. Scores and
answers are made up, cores are of random experts with Llama-3-8B's shapes. A child has
the genome of its shapes whatever its numbers are, so a sample of genomes is written,
and the rest multiplied.
"""

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from sandbox import machine
from shapes import module_shapes, random_expert

from lora_qd.archive import GridArchive
from lora_qd.factors import CoreSpace
from lora_qd.records import Member, Proposal, Score, Scored, StageSeconds
from lora_qd.runs.evolve import CHILDREN_BETWEEN_PRUNES
from lora_qd.runs.run import Run
from lora_qd.search import Archives
from lora_qd.store.genomes import save_genome, save_space
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory

SKILLS = ("code", "database", "shell")
SAMPLES = 128
"""Of each skill: 384 outcomes a child."""
CHILDREN = 1200
REPLAYED = 100_000
CONFIG = {"base": "none", "run": "none", "experts_dir": "none", "skills": SKILLS}


def made_up(index: int, rng: np.random.Generator) -> tuple[Proposal, dict[str, float]]:
    """Return child ``index`` with a default recipe, and scores spread over the axes."""
    scores = {s: int(rng.integers(25, 115)) / SAMPLES for s in SKILLS}
    if index < len(SKILLS):  # experts set the axes: bad at all but one skill
        scores = {s: (100 if s == SKILLS[index] else 30) / SAMPLES for s in SKILLS}
    is_seed = index < len(SKILLS) + 5
    digits = rng.bytes(6).hex()
    parents = tuple(f"{int(rng.integers(0, index + 1)):05d}-{digits}" for _ in range(3))
    recipe = {
        "shares": [float(x) for x in rng.normal(size=3)],
        "gain": float(rng.normal()),
        "tilt": float(rng.normal()),
        "crossover": "linear",
        "granularity": "model",
        "mutation": "relative",
        "rng": rng.bytes(16).hex(),
    }
    member = Member(f"{index:05d}-{digits}", {})
    if is_seed:
        return Proposal(index, member, (), "", {"seed": member.id}), scores
    task = SKILLS[index % len(SKILLS)]
    return Proposal(index, member, parents, task, recipe), scores


def outcomes_of(
    scores: dict[str, float], rng: np.random.Generator
) -> dict[str, dict[str, Score]]:
    """Return outcomes of these means, with answers of 20 to 120 letters."""
    found = {}
    for skill, mean in scores.items():
        right = rng.permutation(SAMPLES) < round(mean * SAMPLES)
        found[skill] = {
            f"{skill}-{i:05d}": Score(
                float(is_right),
                "" if is_right else "AssertionError: expected another value",
                "x" * int(rng.integers(20, 121)),
                num_prompt_tokens=90,
                num_tokens=30,
            )
            for i, is_right in enumerate(right)
        }
    return found


def fill(directory: RunDirectory, num: int) -> list[float]:
    """Commit ``num`` children with their outcomes; return the seconds of each."""
    rng = np.random.default_rng(0)
    seconds = []
    with Ledger(directory.ledger, is_writer=True) as ledger:
        ledger.write_manifest({"config": CONFIG})
        for index in range(num):
            child, scores = made_up(index, rng)
            outcomes = outcomes_of(scores, rng)
            genome = rng.bytes(32).hex()
            start = time.perf_counter()
            ledger.commit(child, genome, scores, Scored(outcomes, StageSeconds()))
            seconds.append(time.perf_counter() - start)
    return seconds


def replay_seconds(directory: RunDirectory, num: int) -> tuple[float, float, int]:
    """Return the seconds to read and to replay ``num`` children, and the elites."""
    rng = np.random.default_rng(1)
    with Ledger(directory.ledger, is_writer=True) as ledger:
        ledger.write_manifest({"config": CONFIG})
    # Not by commit: a sync for each of so many takes longer than what is measured.
    with closing(sqlite3.connect(directory.ledger)) as db, db:
        for index in range(num):
            child, scores = made_up(index, rng)
            texts = (json.dumps(x) for x in (child.parents, child.recipe, scores))
            row = (index, child.member.id, child.task, *texts, rng.bytes(32).hex())
            db.execute(
                "INSERT INTO children (idx, member, task, parents, recipe, scores, "
                "genome) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
    start = time.perf_counter()
    run = Run.open(directory.path)
    read = time.perf_counter()
    elites = len(run.elite_ids)
    return read - start, time.perf_counter() - read, elites


def dump_archives(archives: dict[str, GridArchive], path: Path) -> None:
    """Write all archives as one JSON file, as the released CycleQD code does."""
    told = {
        task: {
            str(elite.index): {"model_path": elite.id, "quality": elite.objective}
            for elite in archive.elites
        }
        for task, archive in archives.items()
    }
    path.write_text(json.dumps(told, indent=4))


def json_seconds(directory: Path) -> tuple[list[float], int, float, int]:
    """Return what JSON costs: archives after every child, and a whole history once."""
    rng = np.random.default_rng(0)
    archives = Archives(SKILLS, num_cells=15)
    seconds, history = [], []
    for index in range(CHILDREN):
        child, scores = made_up(index, rng)
        outcomes = outcomes_of(scores, rng)
        history.append([child.member.id, scores, child.recipe, plain(outcomes)])
        archives.tell(index, child.member.id, scores)
        if archives.by_task:
            start = time.perf_counter()
            dump_archives(dict(archives.by_task), directory / f"gen{index}.json")
            seconds.append(time.perf_counter() - start)
    num_bytes = sum(path.stat().st_size for path in directory.glob("gen*.json"))
    start = time.perf_counter()
    with (directory / "history.json").open("w") as file:
        json.dump(history, file)
        file.flush()
        os.fsync(file.fileno())
    whole = time.perf_counter() - start
    return seconds, num_bytes, whole, (directory / "history.json").stat().st_size


def plain(outcomes: dict[str, dict[str, Score]]) -> list[list[object]]:
    """Return outcomes as JSON takes them."""
    return [
        [skill, name, s.value, s.reason, s.answer, s.num_prompt_tokens, s.num_tokens]
        for skill, by_sample in outcomes.items()
        for name, s in by_sample.items()
    ]


def genome_bytes(directory: RunDirectory, num: int) -> tuple[int, int, int]:
    """Return the bytes of a genome, of the core space, and of a fully rounded file."""
    shapes = module_shapes(32)
    experts = [random_expert(shapes, 16, seed) for seed in range(3)]
    space = CoreSpace.of(experts)
    save_space(space, directory.space)
    rng = np.random.default_rng(2)
    names = []
    for _ in range(num):
        cores = {
            module: rng.standard_normal(basis.core_shape, dtype=np.float32)
            for module, basis in space.bases.items()
        }
        names.append(directory.genome(save_genome(cores, directory)))
    used = sum(path.stat().st_size for path in names)
    blocks = sum(path.stat().st_blocks * 512 for path in names)
    return used // num, directory.space.stat().st_size, blocks // num


def sync_seconds(place: Path) -> float:
    """Return what the disk takes to sync 64 kB behind a file, as a median."""
    seconds = []
    with (place / "synced").open("wb") as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(b"x" * 65536)
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def show_records(place: Path) -> int:
    """Print inserts, sizes and JSON; return the ledger's bytes per child."""
    print(f"this disk syncs 64 kB in {1e3 * sync_seconds(place):.2f} ms")
    directory = RunDirectory(place / "run")
    directory.path.mkdir()
    seconds = fill(directory, CHILDREN)
    low, middle, high = (1e3 * q for q in statistics.quantiles(seconds, n=4))
    size = directory.ledger.stat().st_size
    print(f"insert, 384 outcomes, synced: {middle:.1f} ms ({low:.1f}-{high:.1f})")
    print(f"inserts a second:             {len(seconds) / sum(seconds):.0f}")
    print(f"ledger:                       {size / CHILDREN / 1e3:.1f} kB a child")
    tenth = CHILDREN // 10
    print(
        f"the first tenth and the last: {1e3 * statistics.mean(seconds[:tenth]):.1f} "
        f"and {1e3 * statistics.mean(seconds[-tenth:]):.1f} ms"
    )
    (place / "json").mkdir()
    dumps, num_bytes, whole, history = json_seconds(place / "json")
    print(
        f"JSON of the archives, each child, not synced: "
        f"{1e3 * statistics.mean(dumps[-tenth:]):.1f} ms at the end, "
        f"{num_bytes / 1e6:.0f} MB in {len(dumps)} files, no outcomes"
    )
    print(
        f"JSON of all {CHILDREN} children with outcomes, once: {whole:.2f} s, "
        f"{history / 1e6:.0f} MB"
    )
    return size // CHILDREN


def show_storage(place: Path, per_child: int, sample: int) -> None:
    """Print the bytes of a run of 1,200 children at Llama-3-8B's shapes."""
    directory = RunDirectory(place / "genomes")
    directory.members.mkdir(parents=True)
    genome, space, on_disk = genome_bytes(directory, sample)
    run = Run.open(place / "run")
    elites, ledger = len(run.elite_ids), per_child * CHILDREN
    cells = sum(len(archive) for archive in run.archives.values())
    print(
        f"genome: {genome / 1e6:.3f} MB ({on_disk / 1e6:.3f} on disk, mean of "
        f"{sample}); core space {space / 1e6:.0f} MB; ledger {ledger / 1e6:.0f} MB"
    )
    at_most = elites + CHILDREN_BETWEEN_PRUNES
    for name, num in (("while it runs", at_most), ("when it is done", elites)):
        total = num * on_disk + space + ledger
        print(f"{name}: {num} genomes, {total / 1e9:.2f} GB in all")
    print(f"({elites} members hold the {cells} occupied cells of 3 x 225)")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="what it costs to record a run")
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--genomes", type=int, default=40, help="written as a sample")
    options = parser.parse_args()
    print(machine())
    place = Path(tempfile.mkdtemp(prefix="loraqd-ledger-", dir=options.directory))
    try:
        per_child = show_records(place)
        (place / "long").mkdir()
        read, replayed, elites = replay_seconds(RunDirectory(place / "long"), REPLAYED)
        print(
            f"{REPLAYED} children: read in {read:.2f} s, replayed in {replayed:.2f} s "
            f"({elites} elites)"
        )
        show_storage(place, per_child, options.genomes)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
