"""Deleting the genomes that a run can breed again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import StoreError
from lora_qd.factors import content_hash
from lora_qd.runs.run import Run
from lora_qd.store.files import leftovers
from lora_qd.store.ledger import ChildRow


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted, or would be."""

    num_genomes: int
    num_leftovers: int
    """Half-written files of a killed writer."""
    num_bytes: int
    num_kept: int
    """Genomes that stay."""
    not_bred: tuple[str, ...]
    """Members that stay because they cannot be bred again here, to the last bit."""


def collect(path: Path, *, dry_run: bool = False) -> Collected:
    """Delete what is neither an elite's genome nor a named member's.

    Before anything is deleted, every member that loses its file is bred again and
    compared with the hash that the ledger recorded.

    Args:
        path: the run's directory.
        dry_run: delete nothing.

    Raises:
        InputError: there is no run, or it is being written.
        StoreError: it is damaged.
    """
    run = Run.open(path)
    with run.directory.lock():
        run = Run.open(path)  # nobody writes from here on
        spare = {run.lineage.path(row.member): row for row in _spare(run)}
        orphans = set(_orphans(run))
        not_bred = {p: row for p, row in spare.items() if not _is_bred(run, row)}
        genomes = (spare.keys() - not_bred.keys()) | orphans
        halves = leftovers(run.directory.path) + leftovers(run.directory.members)
        doomed = [*sorted(genomes), *halves]
        num_files = sum(1 for _ in run.directory.members.glob("*.safetensors"))
        num_bytes = sum(file.stat().st_size for file in doomed)
        for file in [] if dry_run else doomed:
            file.unlink()
    return Collected(
        num_genomes=len(genomes),
        num_leftovers=len(halves),
        num_bytes=num_bytes,
        num_kept=num_files - len(genomes),
        not_bred=tuple(row.member for row in not_bred.values()),
    )


def _spare(run: Run) -> Iterator[ChildRow]:
    """Yield the children whose files nobody needs; equal cores share a file."""
    kept = {run.lineage.path(member) for member in run.kept()}
    for row in run.children:
        path = run.lineage.path(row.member)
        if path not in kept and path.is_file():
            yield row


def _orphans(run: Run) -> Iterator[Path]:
    """Yield genomes that no child has: their writer was killed before it committed."""
    members = {row.member for row in run.children} | run.kept()
    known = {run.lineage.path(member) for member in members}
    for path in run.directory.members.glob("*.safetensors"):
        if path not in known and is_genome_name(path.stem):
            yield path


def is_genome_name(stem: str) -> bool:
    """Tell whether a file is named like a genome: by a SHA-256 in hex."""
    return len(stem) == 64 and set(stem) <= set("0123456789abcdef")


def _is_bred(run: Run, row: ChildRow) -> bool:
    """Tell whether a child is bred again, bit by bit, from its parents."""
    try:
        return content_hash(run.lineage.derive(row)) == row.genome
    except (StoreError, ValueError):  # other bits, or a recipe of the first versions
        return False
