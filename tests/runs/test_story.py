"""A run told piece by piece is the run told at once, and the run replayed."""

import contextlib
import sqlite3

import pytest

from lora_qd.archive import ParetoFront
from lora_qd.errors import InputError, StoreError
from lora_qd.runs.following import Follower
from lora_qd.runs.history import replay_archives
from lora_qd.runs.overview import facts_of, notes_of, num_waiting
from lora_qd.runs.run import Run, Status
from lora_qd.runs.story import MAX_POINTS
from lora_qd.store.ledger import Ledger, mean
from lora_qd.store.run_directory import RunDirectory
from tests.dashboard.made_up import MadeUpRun
from tests.runs import synthetic


def followed(run):
    return Follower(run.directory).read()


def test_the_story_has_the_archives_of_the_replay(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(300)
    opened, story = Run.open(run.directory.path), followed(run).story
    replayed = replay_archives(opened.children, opened.config).by_task
    assert {s: a.elites for s, a in story.archives.items()} == {
        s: a.elites for s, a in replayed.items()
    }


def test_what_is_read_in_pieces_is_what_is_read_at_once(tmp_path):
    run = MadeUpRun(tmp_path / "run")
    follower = Follower(run.directory)
    for num in (1, 2, 5, 0, 40, 200):
        snapshot = follower.read()
        run.add(num)
    snapshot = follower.read()
    whole = followed(run).story
    assert snapshot.story.rows == whole.rows
    assert snapshot.story.entered == whole.entered
    assert snapshot.story.points == whole.points
    assert snapshot.story.totals == whole.totals
    assert snapshot.story.front.ids == whole.front.ids


def test_nothing_new_changes_nothing(tmp_path):
    follower = Follower(MadeUpRun(tmp_path / "run").add(1000).directory)
    before = list(follower.read().story.points)
    assert follower.read().story.points == before


@pytest.mark.parametrize("piece", [7, 100, 5000])
def test_curves_stay_short_and_end_now(tmp_path, piece):
    run = MadeUpRun(tmp_path / "run")
    follower = Follower(run.directory)
    for _ in range(5000 // piece):
        run.add(piece)
        story = follower.read().story
        assert story.points[-1].num_children == len(story.rows)
    assert MAX_POINTS / 2 <= len(story.points) <= 2 * MAX_POINTS + 1
    counts = [point.num_children for point in story.points]
    assert counts == sorted(set(counts))


def test_a_point_is_what_the_ledger_says(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(50)
    snapshot, opened = followed(run), Run.open(run.directory.path)
    now = snapshot.story.points[-1]
    stats = [archive.stats() for archive in opened.archives.values()]
    assert now.qd_score == pytest.approx(sum(s.qd_score for s in stats))
    assert now.coverage == pytest.approx(sum(s.coverage for s in stats) / 3)
    assert now.best == mean(opened.best().scores)
    with Ledger(run.directory.ledger) as ledger:
        assert now.num_tokens == sum(cost.num_tokens for cost in ledger.costs())


def test_the_front_is_that_of_all_children(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(200)
    front = ParetoFront(run.skills)
    for child in Run.open(run.directory.path).children:
        front.add(child.member, [child.scores[skill] for skill in run.skills])
    assert followed(run).story.front.ids == front.ids


def test_the_best_is_bred_and_the_oldest_of_equals(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(100)
    best = followed(run).story.best_bred
    bred = [row for row in Run.open(run.directory.path).children if row.parents]
    top = max(mean(row.scores) for row in bred)
    assert best == next(row for row in bred if mean(row.scores) == top)


def test_seeds_alone_have_no_best(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(8)
    assert followed(run).story.best_bred is None


@pytest.mark.parametrize(
    ("num", "status", "note"),
    [
        (0, Status.NEW, "stopped before anybody was scored"),
        (2, Status.INTERRUPTED, "Go on: loraqd resume"),
        (20, Status.INTERRUPTED, "Go on: loraqd resume"),
    ],
)
def test_a_run_that_stands_still_says_so(tmp_path, num, status, note):
    snapshot = followed(MadeUpRun(tmp_path / "run").add(num))
    assert snapshot.status is status
    assert note in notes_of(snapshot)[0]


@pytest.mark.parametrize(
    ("num", "note"),
    [(0, "starting"), (2, "experts are being scored"), (18, "finalists")],
)
def test_a_run_under_way_says_what_it_does(tmp_path, num, note):
    run = MadeUpRun(tmp_path / "run", budget=10).add(num)
    with run.directory.lock():
        snapshot = followed(run)
    assert snapshot.status is Status.RUNNING
    assert note in notes_of(snapshot)[0]


def test_a_finished_run_has_no_notes(tmp_path):
    snapshot = followed(MadeUpRun(tmp_path / "run", budget=10).add(18).finish())
    assert (snapshot.status, notes_of(snapshot)) == (Status.FINISHED, [])
    assert ("Children", "10 of 10") in facts_of(snapshot)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is none; start one with loraqd evolve"):
        Follower(RunDirectory(tmp_path))


def test_a_run_that_never_began_is_new(tmp_path):
    directory = RunDirectory(tmp_path)
    Ledger(directory.ledger, is_writer=True).__exit__(None, None, None)
    snapshot = Follower(directory).read()
    assert (snapshot.status, snapshot.story) == (Status.NEW, None)
    assert facts_of(snapshot) == []
    assert "Start it again" in notes_of(snapshot)[0]


def test_a_run_that_replaces_another_is_read_from_its_beginning(tmp_path):
    old = MadeUpRun(tmp_path / "run").add(30)
    follower = Follower(old.directory)
    follower.read()
    new = MadeUpRun(tmp_path / "new").add(12)
    new.directory.ledger.replace(old.directory.ledger)
    assert len(follower.read().story.rows) == 12


def test_a_run_that_is_gone_is_an_error(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(3)
    follower = Follower(run.directory)
    run.directory.ledger.unlink()
    with pytest.raises(StoreError, match="the run was moved or deleted"):
        follower.read()


def test_a_missing_child_is_an_error(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(3)
    run.num = 5
    run.add(1)
    with pytest.raises(StoreError, match="but got: child 5 .* where 3 is due"):
        followed(run)


@pytest.mark.parametrize("scores", ["{", "[]", '"x"', "null"])
def test_scores_that_are_none_are_an_error(tmp_path, scores):
    run = MadeUpRun(tmp_path / "run").add(3)
    with contextlib.closing(sqlite3.connect(run.directory.ledger)) as db, db:
        db.execute("UPDATE children SET scores = ? WHERE idx = 1", (scores,))
    with pytest.raises(StoreError, match="restore the file from a copy"):
        followed(run)


def test_who_is_waiting_follows_from_the_loop(tmp_path):
    """In the synthetic search: after each insertion, who was asked for before it."""
    seen = []
    config = synthetic.config(tmp_path, search__children=12, search__batch=3)
    follower = None

    def progress(_):
        nonlocal follower
        follower = follower or Follower(RunDirectory(config.run))
        story = follower.read().story
        seen.append((len(story.rows), num_waiting(story)))

    synthetic.run(config, progress=progress)
    assert seen[0] == (1, 4)
    assert seen[4] == (5, 6)  # five seeds; two batches of three are under way
    assert seen[7] == (8, 6)
    assert seen[-1] == (17, 0)


def test_a_real_search_is_followed_without_touching_it(tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    before = {p.name: p.read_bytes() for p in config.run.glob("*.*") if p.is_file()}
    snapshot = Follower(RunDirectory(config.run)).read()
    assert len(snapshot.likeness) == 3
    assert snapshot.means["best bred member", "test"].mean <= 1.0
    after = {p.name: p.read_bytes() for p in config.run.glob("*.*") if p.is_file()}
    assert {n: b for n, b in after.items() if n in before} == before
