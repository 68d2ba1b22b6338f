"""What a search reports: every child at its index, and the final table at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lora_qd.archive import GridArchive, overall
from lora_qd.records import Scores
from lora_qd.runs.config import RunConfig
from lora_qd.runs.progress import Progress
from lora_qd.runs.results import Results
from lora_qd.runs.trackers.opening import open_trackers
from lora_qd.runs.trackers.tracker import Trackers
from lora_qd.search import Archives
from lora_qd.store.ledger import ChildRow, mean
from lora_qd.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class RunTrackers:
    """The trackers of a search; nothing is computed where there are none."""

    trackers: Trackers

    def child(
        self,
        index: int,
        scores: Scores,
        archives: Mapping[str, GridArchive],
        progress: Progress,
    ) -> None:
        """Report an inserted child."""
        if self.trackers:
            values = child_values(scores, archives) | _progress_values(progress)
            self.trackers.log(values, index)

    def results(self, results: Results, index: int) -> None:
        """Report the final table, at the step of the last child."""
        if self.trackers:
            self.trackers.log(result_values(results), index)


@contextmanager
def open_run_trackers(
    config: RunConfig,
    directory: RunDirectory,
    rows: Sequence[ChildRow],
    say: Callable[[str], None],
) -> Iterator[RunTrackers]:
    """Open what a search reports to.

    Args:
        config: the run's.
        directory: of the run, whose name is what the libraries call it.
        rows: the children so far; a tracker that is new to the run is told of them.
        say: told of a tracker that fails, once.

    Raises:
        MissingExtraError: a library is not installed.
    """
    name = directory.path.absolute().name
    with open_trackers(
        config, directory.trackers, say, name=name, first_step=len(rows)
    ) as opened:
        if opened.new and rows:
            _catch_up(opened.all, opened.new, rows, config)
        yield RunTrackers(opened.all)


def child_values(
    scores: Scores, archives: Mapping[str, GridArchive]
) -> dict[str, float]:
    """Return what follows from the scores of a child and all before it."""
    values = {f"score/{skill}": score for skill, score in scores.items()}
    values["score/mean"] = mean(scores)
    stats = {skill: archive.stats() for skill, archive in archives.items()}
    for skill, each in stats.items():
        values[f"archive/{skill}/coverage"] = each.coverage
        values[f"archive/{skill}/qd_score"] = each.qd_score
        values[f"archive/{skill}/best"] = each.best
    return values


def result_values(results: Results) -> dict[str, float]:
    """Return the final table: ``test/best_bred_member/code`` and so on."""
    values = {}
    for row in results.rows:
        name = row.name.replace(" ", "_")
        for skill, interval in row.by_skill.items():
            values[f"test/{name}/{skill}"] = interval.mean
        values[f"test/{name}/mean"] = row.mean.mean
    return values


def _progress_values(progress: Progress) -> dict[str, float]:
    values = {
        "search/coverage": progress.coverage,
        "search/qd_score": progress.qd_score,
        "search/best_mean": progress.best_mean,
        "search/children_per_minute": progress.children_per_minute,
        "search/tokens_per_second": progress.tokens_per_second,
        "search/busy_share": progress.busy_share,
    }
    if progress.money is not None:
        values["cost/money"] = progress.money
    return values


def _catch_up(
    trackers: Trackers,
    new: frozenset[str],
    rows: Sequence[ChildRow],
    config: RunConfig,
) -> None:
    """Report earlier children to who has not heard of them; speeds are not kept."""
    archives, best = Archives(config.skills, num_cells=config.search.cells), 0.0
    for row in rows:
        archives.tell(row.index, row.member, row.scores)
        if not row.num_left:
            best = max(best, mean(row.scores))
        values = child_values(row.scores, archives.by_task)
        now = overall(archives.by_task.values())
        values["search/coverage"] = now.coverage
        values["search/qd_score"] = now.qd_score
        values["search/best_mean"] = best
        for name in new:
            trackers.log_to(name, values, row.index)
