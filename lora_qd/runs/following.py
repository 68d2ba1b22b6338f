"""Reading a run again and again while it may go on; nothing is written or locked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_qd.errors import LoraQDError, StoreError
from lora_qd.evaluation import Interval, mean_interval
from lora_qd.factors.similarity import Similarity, similarities
from lora_qd.records import Split, Usage
from lora_qd.runs.lineage import lineage_of
from lora_qd.runs.recorded import damaged, read_config
from lora_qd.runs.results import Results, load_results
from lora_qd.runs.run import Status, status_of
from lora_qd.runs.story import Story
from lora_qd.search.breeding import expert_member
from lora_qd.store.genomes import load_genome
from lora_qd.store.ledger import ChildRow, Ledger
from lora_qd.store.run_directory import RunDirectory

_SPLITS = (Split.SEARCH, Split.VALIDATION, Split.TEST)

Means = Mapping[tuple[str, Split], Interval]
"""Mean over the skills with its interval, by row of the table and split."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A run as it is now."""

    directory: RunDirectory
    status: Status
    story: Story | None
    """None of a run that was stopped before it began."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    results: Results | None = None
    """None while there is no final table."""
    means: Means = field(default_factory=dict)
    """Of the final table, by row and split."""
    likeness: Mapping[tuple[int, int], Similarity] = field(default_factory=dict)
    """Of every two experts, by their places in ``skills``; empty where one's genome is
    missing."""
    sessions: tuple[Usage, ...] = ()
    """What each driver used of its engines."""


class Follower:
    """Reads what is new of a run; see the module's docstring."""

    def __init__(self, directory: RunDirectory) -> None:
        """Follow the run in ``directory``.

        Raises:
            InputError: there is none.
        """
        directory.require_run()
        self._directory = directory
        self._inode = 0
        self._story: Story | None = None
        self._likeness: Mapping[tuple[int, int], Similarity] = {}

    def read(self) -> Snapshot:
        """Return the run as it is now, at the price of what is new.

        Raises:
            StoreError: the ledger is damaged, locked, or gone.
        """
        self._notice_replacement()
        try:
            with Ledger(self._directory.ledger) as ledger:
                return self._read(ledger)
        except (ValueError, TypeError, KeyError) as error:  # what was JSON is no more
            if isinstance(error, LoraQDError):
                raise
            raise damaged(self._directory, repr(error)) from error

    def _read(self, ledger: Ledger) -> Snapshot:
        manifest = ledger.manifest()
        self._go_on(ledger)
        story = self._story
        results = self._results(story)
        return Snapshot(
            directory=self._directory,
            status=status_of(
                self._directory,
                story.config if story else None,
                len(story.rows) if story else 0,
                has_results=results is not None,
            ),
            story=story,
            manifest=manifest,
            results=results,
            means=read_means(ledger, results) if results else {},
            likeness=self._compare_experts(story),
            sessions=tuple(ledger.sessions()),
        )

    def _notice_replacement(self) -> None:
        """Begin anew where ``--overwrite`` has put another run in the place."""
        try:
            inode = self._directory.ledger.stat().st_ino
        except OSError as error:
            raise StoreError(
                f"expected a ledger at {self._directory.ledger}, but got: "
                f"{error.strerror}; the run was moved or deleted"
            ) from error
        if inode != self._inode:
            self._inode, self._story, self._likeness = inode, None, {}

    def _go_on(self, ledger: Ledger) -> None:
        config = read_config(ledger, self._directory)
        if config is None:
            return
        if self._story is None:
            self._story = Story(config, num_expected=ledger.num_children)
        story = self._story
        story.config = config  # a run that goes on may have a larger budget
        rows = ledger.children(len(story.rows))
        for offset, row in enumerate(rows):
            self._check(row, len(story.rows) + offset)
        story.tell(rows, ledger.costs(story.num_costs))

    def _check(self, row: ChildRow, index: int) -> None:
        skills = self._story.config.skills if self._story else ()
        if row.index != index or not set(skills) <= set(row.scores):
            fact = f"child {row.index} with {dict(row.scores)} where {index} is due"
            raise damaged(self._directory, fact)

    def _results(self, story: Story | None) -> Results | None:
        path = self._directory.results
        return load_results(path) if story and path.is_file() else None

    def _compare_experts(
        self, story: Story | None
    ) -> Mapping[tuple[int, int], Similarity]:
        if self._likeness or story is None or not story.archives:
            return self._likeness
        lineage = lineage_of(story.rows, {}, self._directory, story.config)
        paths = [
            lineage.path(expert_member(skill, {}).id) for skill in story.config.skills
        ]
        if all(path.is_file() for path in paths):
            self._likeness = similarities([load_genome(path) for path in paths])
        return self._likeness


def read_means(ledger: Ledger, results: Results) -> Means:
    """Return what the members of the final table scored on each split."""
    means = {}
    for row in results.rows:
        for split in _SPLITS:
            values = ledger.values(row.member, split)
            if set(results.skills) <= set(values):
                scores = [values[skill] for skill in results.skills]
                means[row.name, split] = mean_interval(scores)
    return means
