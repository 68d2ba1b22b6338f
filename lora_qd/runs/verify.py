"""The audit of a run: what it says of itself, checked against what follows from it.

Every check returns how much it looked at and what is wrong, one line each. Not checked:
whether base, experts and samples are still where they were (``loraqd reproduce``), and
whether the answers were judged rightly.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import LoraQDError, StoreError
from lora_qd.records import Cores, Split
from lora_qd.runs.collecting import is_genome_name
from lora_qd.runs.descent import descent_problems
from lora_qd.runs.run import Run, Status
from lora_qd.store.audit import integrity_of, outcomes_of
from lora_qd.store.files import leftovers
from lora_qd.store.genomes import load_genome, load_space, space_hash
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory

_MANIFEST = ("config", "versions", "base", "experts", "space", "splits")
_TOLERANCE = 1e-9
"""Between two ways to compute one mean."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked."""

    name: str
    summary: str
    """How much was looked at."""
    problems: tuple[str, ...]


def verify(path: Path, *, derive: bool = False) -> Iterator[Check]:
    """Check a run, whether finished or not; yield each check as it is done.

    Args:
        path: the run's directory.
        derive: also breed every child anew and compare hashes.

    Raises:
        InputError: there is no run in the directory.
        StoreError: a newer loraqd wrote it.
    """
    directory = RunDirectory(path)
    directory.require_run()
    broken = integrity_of(directory.ledger)
    yield _check("ledger", "every page of the file", broken)
    if broken:
        return  # nothing that it says can be relied on
    try:
        run = Run.open(path)
    except (LoraQDError, ValueError, KeyError, TypeError) as error:
        yield _check("run", "config, children and results", [_line(error)])
        return
    yield _check("children", f"{len(run.children)} in order", _gaps(run))
    yield _guarded("manifest", f"{len(_MANIFEST)} entries and the core space", run)
    yield _guarded("scores", f"{len(run.children)} means of their outcomes", run)
    yield _guarded("lineage", f"{run.num_bred} draws of parents", run)
    yield _guarded("archives", f"{len(run.archives)} replayed", run)
    names = list(run.directory.members.glob("*.safetensors"))
    yield _guarded("genomes", f"{len(names)} files and their hashes", run)
    yield _guarded("files", "nothing left over", run)
    if derive:
        num_derived = max(0, len(run.children) - len(run.config.skills))
        yield _guarded("derive", f"{num_derived} members bred anew", run)


def _check(name: str, summary: str, problems: list[str]) -> Check:
    return Check(name, summary, tuple(problems))


def _guarded(name: str, summary: str, run: Run) -> Check:
    """Run one check; what it stumbles over is its last problem."""
    problems = []
    try:
        for problem in _CHECKS[name](run):
            problems.append(problem)
    except (LoraQDError, OSError, ValueError, KeyError, TypeError) as error:
        problems.append(_line(error))
    return _check(name, summary, problems)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    is_ours = isinstance(error, LoraQDError)
    return text if is_ours else f"{type(error).__name__}: {text}"


def _gaps(run: Run) -> list[str]:
    return [
        f"expected child {index}, but the next one is {row.index} ({row.member})"
        for index, row in enumerate(run.children)
        if row.index != index
    ][:1]


def _manifest_problems(run: Run) -> Iterator[str]:
    with Ledger(run.directory.ledger) as ledger:
        manifest = ledger.manifest()
    # Samples are fixed a little later than the rest, but before the first child.
    due = _MANIFEST if run.children else _MANIFEST[:-1]
    for key in due:
        if key not in manifest:
            yield f"the manifest has no entry {key!r}"
    lacking = [s for s in run.config.skills if s not in manifest.get("experts", {})]
    for skill in lacking:
        yield f"the manifest has no hash of the expert of {skill!r}"
    if "space" in manifest:
        found = space_hash(load_space(run.directory.space))
        if found != manifest["space"]:
            yield (
                f"{run.directory.space.name} has the hash {found[:12]}, but the "
                f"manifest says {manifest['space'][:12]}"
            )


def _score_problems(run: Run) -> Iterator[str]:
    """Compare what the searcher was told with the mean over the samples."""
    rows = {row.member: row for row in run.children}
    values: dict[tuple[str, str], dict[str, float]] = {}
    for outcome in outcomes_of(run.directory.ledger):
        member, split, task, sample = outcome.question
        if member in rows and split is Split.SEARCH:
            values.setdefault((member, task), {})[sample] = outcome.value
        if not 0 <= outcome.value <= 1:
            yield f"{member} has the value {outcome.value:g} on {task}/{sample}"
    samples: dict[str, set[str]] = {}
    for row in run.children:
        num_lacking = 0
        for skill in run.config.skills:
            found = values.get((row.member, skill), {})
            every = samples.setdefault(skill, set(found))
            is_part = row.num_left and found.keys() < every
            if not found or not (is_part or found.keys() == every):
                yield f"{row.member} was scored on other samples of {skill!r}"
                continue
            num_lacking += len(every) - len(found)
            expected = sum(found.values()) / len(found)
            told = row.scores.get(skill)
            if told is None or abs(told - expected) > _TOLERANCE:
                yield (
                    f"{row.member} has the score {told} on {skill!r}, but its "
                    f"outcomes give {expected}"
                )
        if num_lacking != row.num_left:
            yield (
                f"{row.member} was left with {row.num_left} samples to go, but "
                f"{num_lacking} are lacking"
            )


def _archive_problems(run: Run) -> Iterator[str]:
    """Compare the final table with the replay and with the outcomes."""
    if run.results is None or run.status is not Status.FINISHED:
        return
    for skill, archive in run.archives.items():
        named = run.results.members.get(skill)
        if named != archive.best.id:
            yield (
                f"the results name {named} as the best elite of {skill!r}, but the "
                f"replay gives {archive.best.id}"
            )
    totals: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes_of(run.directory.ledger):
        member, split, task, _ = outcome.question
        if split is Split.TEST:
            totals.setdefault((member, task), []).append(outcome.value)
    for row in run.results.rows:
        for skill, interval in row.by_skill.items():
            found = totals.get((row.member, skill), [])
            expected = sum(found) / len(found) if found else None
            if expected is None or abs(interval.mean - expected) > _TOLERANCE:
                yield (
                    f"the results give {row.name!r} {interval.mean} on {skill!r}, but "
                    f"its outcomes give {expected}"
                )


def _genome_problems(run: Run) -> Iterator[str]:
    is_live = run.directory.is_locked
    for row in run.children:
        is_named = row.genome is None or row.member.endswith(f"-{row.genome[:12]}")
        if row.parents and not is_named:
            yield f"{row.member} has the hash {row.genome}, which its name is not of"
    owners = {run.lineage.path(row.member): row.member for row in run.children}
    owners |= {run.lineage.path(member): member for member in run.kept()}
    for path in sorted(run.directory.members.glob("*.safetensors")):
        try:
            load_genome(path)
        except StoreError as error:
            if path.exists() or not is_live:  # its writer has just ended and tidied up
                yield f"{owners.get(path, 'nobody')}: {_line(error)}"
    yield from _missing_and_spare(run, owners, is_live=is_live)


def _missing_and_spare(
    run: Run, owners: dict[Path, str], *, is_live: bool
) -> Iterator[str]:
    """Compare the files there are with those that there should be."""
    required = {run.lineage.path(member): member for member in run.required()}
    for path, member in sorted(required.items()):
        if not path.is_file() and not is_live:
            yield f"the genome of {member} is missing: {path}"
    allowed = {run.lineage.path(member) for member in run.kept()}
    unknown = []
    for path in sorted(run.directory.members.glob("*.safetensors")):
        if path not in owners:
            unknown.append(path)
        elif run.status is Status.FINISHED and path not in allowed:
            yield (
                f"the genome of {owners[path]}, which is neither an elite nor named, "
                f"is there: {path}; delete it with loraqd gc"
            )
    # A writer saves a genome just before it commits the child: one may be unborn.
    may_be_unborn = run.status is not Status.FINISHED
    genomes = [p for p in unknown if is_genome_name(p.stem)]
    if may_be_unborn and (is_live or len(genomes) == 1):
        unknown = [p for p in unknown if p not in genomes]
    for path in unknown:
        yield f"no member of the ledger has the genome {path}"


def _file_problems(run: Run) -> Iterator[str]:
    directory = run.directory
    if directory.is_locked:
        return  # its writer is at work
    halves = {*leftovers(directory.path), *leftovers(directory.members)}
    for path in sorted(halves):
        yield f"a killed writer left {path}; delete it with loraqd gc"
    if not directory.members.is_dir():
        yield f"the directory {directory.members} is missing"
        return
    for path in sorted(directory.members.iterdir()):
        if path.suffix != ".safetensors" and path not in halves:
            yield f"{path} is none of the run's files"


def _derived_problems(run: Run) -> Iterator[str]:
    """Breed every member but the experts, each once: parents are kept while needed."""
    last_use = {p: row.index for row in run.children for p in row.parents}
    bred: dict[str, Cores] = {}
    for row in run.children[len(run.config.skills) :]:
        try:
            cores = run.lineage.derive(row, bred)
        except (LoraQDError, ValueError, KeyError) as error:
            yield f"{row.member}: {_line(error)}"
            continue
        if row.member in last_use:
            bred[row.member] = cores
        for parent in row.parents:
            if last_use[parent] == row.index:
                bred.pop(parent, None)


_CHECKS: dict[str, Callable[[Run], Iterator[str]]] = {
    "manifest": _manifest_problems,
    "scores": _score_problems,
    "lineage": descent_problems,
    "archives": _archive_problems,
    "genomes": _genome_problems,
    "files": _file_problems,
    "derive": _derived_problems,
}
