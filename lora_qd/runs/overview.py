"""The headline of a run: its figures in words, and what a reader should know."""

from lora_qd.runs.costs import engine_use
from lora_qd.runs.following import Snapshot
from lora_qd.runs.run import Status
from lora_qd.runs.story import Story

Fact = tuple[str, str]
"""A label and its value."""


def facts_of(snapshot: Snapshot) -> list[Fact]:
    """Return what stands at the top of the page."""
    story = snapshot.story
    if story is None or not story.rows:
        return []
    now = story.points[-1]
    facts = [
        ("Children", f"{story.num_bred:,} of {story.config.search.children:,}"),
        ("Archive members", f"{len(story.elite_ids()):,}"),
        ("Coverage", f"{now.coverage:.1%}"),
        ("QD score", f"{now.qd_score:.1f}"),
        ("Best mean score", f"{now.best:.3f}"),
        ("Best bred", "none yet" if now.best_bred is None else f"{now.best_bred:.3f}"),
        ("Hypervolume", f"{now.hypervolume:.3f}"),
        ("Tokens generated", f"{sum(t.num_tokens for t in story.totals.values()):,}"),
    ]
    if snapshot.status is Status.RUNNING:
        facts.insert(1, ("Bred, not scored yet", str(num_waiting(story))))
    return facts + _engine_facts(snapshot, story)


def num_waiting(story: Story) -> int:
    """Return how many candidates are bred but not scored yet while the search runs.

    The loop asks for the seeds together, then keeps ``lag + 1`` batches under way.
    """
    search, num_done = story.config.search, len(story.rows)
    if num_done < story.config.num_seeds:
        return story.config.num_seeds - num_done
    num_asked = (story.num_bred // search.batch + search.lag + 1) * search.batch
    return max(0, min(num_asked, search.children) - story.num_bred)


def notes_of(snapshot: Snapshot) -> list[str]:
    """Return what a reader should know of a run that is not finished, or odd."""
    story, path = snapshot.story, snapshot.directory.path
    if snapshot.status is Status.RUNNING:
        if story is None or not story.rows:
            return ["The run is starting; nobody has been scored yet."]
        if not story.archives:
            return ["The experts are being scored; the archives open after that."]
        if story.num_bred >= story.config.search.children:
            return ["The search is over; the finalists are being scored."]
        return []
    if snapshot.status is Status.NEW:
        return [
            "The run was stopped before anybody was scored. Start it again: loraqd "
            "evolve"
        ]
    if snapshot.status is Status.INTERRUPTED:
        return [
            "The run was interrupted; nothing that was scored is lost. Go on: loraqd "
            f"resume {path}"
        ]
    return []


def _engine_facts(snapshot: Snapshot, story: Story) -> list[Fact]:
    use = engine_use(snapshot.sessions, story.config.engine)
    if not use.engine_s:
        return []
    facts = [
        ("Engine time", f"{use.engine_s / 60:,.1f} min"),
        ("Engines busy", f"{use.busy_share:.0%}"),
    ]
    if use.num_restarts:
        facts.append(("Engine restarts", str(use.num_restarts)))
    if use.money is not None:
        facts.append(("Money", f"{use.money:.2f}"))
    return facts
