"""Whether each child's parents are those that its seed draws from the archives.

Batch n was proposed from the archives after batches 0 .. n-1-lag (design, section 4).
Child i draws its parents first, from seed and i alone, so that the draw is repeated
from scores, without any cores.
"""

from collections.abc import Iterator

from lora_qd.runs.run import Run
from lora_qd.search import Archives, Breeder
from lora_qd.search.breeding import position_of
from lora_qd.store.ledger import ChildRow
from lora_qd.variation import sample_elites


def descent_problems(run: Run) -> Iterator[str]:
    """Yield a line for every child whose parents could not have been drawn."""
    config, search = run.config, run.config.search
    settings = search.settings(config.merge_gains)
    breeder = Breeder({}, settings, config.seed)
    archives = Archives(config.skills, num_cells=search.cells)
    index_by_member = {row.member: row.index for row in run.children}
    num_told = 0
    for row in run.children:
        batch = (row.index - config.num_seeds) // search.batch
        num_seen = config.num_seeds + search.batch * max(0, batch - search.lag)
        if row.index < config.num_seeds:
            if row.parents or row.task:
                yield f"the seed {row.member} has the parents {row.parents}"
            continue
        for told in run.children[num_told:num_seen]:
            archives.tell(told.index, told.member, told.scores)
        num_told = max(num_told, num_seen)
        younger = [p for p in row.parents if index_by_member.get(p, -1) >= row.index]
        unknown = [p for p in row.parents if p not in index_by_member]
        if younger or unknown or not row.parents:
            strange = younger or unknown or ["no parents"]
            yield f"{row.member} has {', '.join(strange)}, which is no older member"
            continue
        task = config.skills[batch % len(config.skills)]
        yield from _draw_problems(row, task, archives, breeder)


def _draw_problems(
    row: ChildRow, task: str, archives: Archives, breeder: Breeder
) -> Iterator[str]:
    if row.task != task:
        yield f"{row.member} was bred for {row.task!r}, but its turn was {task!r}"
        return
    elites = archives.by_task[task].elites
    foreign = sorted(set(row.parents) - {elite.id for elite in elites})
    if foreign:
        yield (
            f"{row.member} has the parent {', '.join(foreign)}, which was no elite of "
            f"{task!r} when it was bred"
        )
        return
    if "rng" not in row.recipe:  # the first versions chose in another way
        return
    s, rng = breeder.settings, breeder.generator(row.index)
    drawn = sample_elites(
        elites, rng, s.selection, num=s.parents, a_low=s.a_low, a_high=s.a_high
    )
    expected = tuple(elite.id for elite in drawn)
    if expected != row.parents:
        yield (
            f"{row.member} has the parents {', '.join(row.parents)}, but its seed "
            f"draws {', '.join(expected)}"
        )
    elif position_of(rng) != row.recipe["rng"]:
        yield f"{row.member} has a recipe that its seed does not draw"
