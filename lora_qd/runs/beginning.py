"""The first steps of every session: begin a run, or prove that it is the same one."""

from collections.abc import Mapping

import yaml

from lora_qd.errors import StoreError
from lora_qd.factors import CoreSpace
from lora_qd.records import Cores
from lora_qd.runs.config import RunConfig
from lora_qd.runs.continuing import require_same
from lora_qd.runs.experts import ExpertAdapter, Span, span_of
from lora_qd.runs.manifest import manifest, sample_hashes
from lora_qd.search.breeding import expert_member
from lora_qd.store.files import write_bytes
from lora_qd.store.genomes import load_genome, load_space, save_space, space_hash
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from lora_qd.tasks.task import Task


def begin(
    config: RunConfig,
    adapters: Mapping[str, ExpertAdapter],
    run: RunDirectory,
    ledger: Ledger,
) -> Span:
    """Record what fixes a new run, or check an old one against it; return its span.

    A run that goes on keeps the core space and the experts' cores that it began with,
    since another machine may compute them with other last bits.

    Raises:
        InputError: base or experts are not the run's.
        StoreError: the core space is lost.
    """
    recorded = ledger.manifest()
    current = manifest(config, adapters)
    run.remove_leftovers()
    run.members.mkdir(exist_ok=True)
    if recorded:
        for kind in ("base", "experts"):
            require_same(kind, recorded[kind], current[kind])
        span = _old_span(recorded.get("space"), adapters, run, ledger)
    else:
        span = span_of(adapters)
        save_space(span.space, run.space)
        ledger.write_manifest({**current, "space": space_hash(span.space)})
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_bytes(run.config, text.encode())
    for results in (run.results, run.table):
        results.unlink(missing_ok=True)
    return span


def fix_samples(config: RunConfig, tasks: Mapping[str, Task], ledger: Ledger) -> None:
    """Record what samples the scores are of, or check them against the record.

    Raises:
        InputError: they are not the run's; another version of loraqd made them.
    """
    recorded, current = ledger.manifest(), sample_hashes(config, tasks)
    if "splits" in recorded:
        require_same("splits", recorded["splits"], current)
    else:
        ledger.write_manifest({"splits": current})


def _old_span(
    recorded: str | None,
    adapters: Mapping[str, ExpertAdapter],
    run: RunDirectory,
    ledger: Ledger,
) -> Span:
    space = _old_space(recorded, adapters, run)
    genomes = {row.member: row.genome for row in ledger.children()}

    def cores(skill: str, adapter: ExpertAdapter) -> Cores:
        member = expert_member(skill, {}).id
        path = run.genome(genomes.get(member) or member)
        return (
            load_genome(path) if path.is_file() else space.project(adapter.task_vector)
        )

    return Span(space, {skill: cores(skill, a) for skill, a in adapters.items()})


def _old_space(
    recorded: str | None, adapters: Mapping[str, ExpertAdapter], run: RunDirectory
) -> CoreSpace:
    """Return the space on disk; where it is lost, build it again if that is exact."""
    if run.space.is_file():
        space = load_space(run.space)
    else:
        space = span_of(adapters).space
        save_space(space, run.space)
    if recorded is not None and space_hash(space) != recorded:
        raise StoreError(
            f"expected the run's core space in {run.space} ({recorded[:12]}), but got "
            f"another one ({space_hash(space)[:12]}); delete the file where the run "
            "began, or restore it from a copy"
        )
    return space
