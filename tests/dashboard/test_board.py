"""The board sends each reader what is new to it, and nothing else."""

import json

from lora_qd.dashboard.board import Board
from lora_qd.runs.following import Follower
from tests.dashboard.made_up import MadeUpRun


def board_of(run):
    return Board(Follower(run.directory))


def read(board, number):
    update = board.since(number)
    return update.number, json.loads(update.data)


def test_a_new_reader_is_sent_everything(tmp_path):
    _, data = read(board_of(MadeUpRun(tmp_path / "run").add(30)), 0)
    names = {figure["id"] for figure in data["figures"]}
    assert {"archive-code", "qd-score-over-children", "throughput"} <= names
    assert ["Children", "22 of 10,000"] in data["facts"]


def test_a_reader_is_sent_nothing_twice(tmp_path):
    board = board_of(MadeUpRun(tmp_path / "run").add(30))
    number, _ = read(board, 0)
    board.look()
    assert board.since(number) is None


def test_a_child_changes_the_charts_that_show_it_and_no_others(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(30)
    board = board_of(run)
    number, _ = read(board, 0)
    run.add(1)
    board.look()
    _, data = read(board, number)
    names = {figure["id"] for figure in data["figures"]}
    assert "qd-score-over-children" in names
    assert "manifest" not in names
    assert ["Children", "23 of 10,000"] in data["facts"]


def test_a_slow_reader_catches_up_in_one_step(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(30)
    quick, slow = board_of(run), board_of(run)
    shown = {}
    number = 0
    for _ in range(5):
        run.add(7)
        quick.look()
        slow.look()
        number, data = read(quick, number)
        shown |= {figure["id"]: figure for figure in data["figures"]}
    _, data = read(slow, 0)
    whole = {figure["id"]: figure for figure in data["figures"]}
    for times in (shown, whole):
        times.pop("throughput")  # of the clock
    assert shown == whole


def test_charts_that_vanish_are_named_once(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(30)
    board = board_of(run)
    number, _ = read(board, 0)
    MadeUpRun(tmp_path / "new").directory.ledger.replace(run.directory.ledger)
    board.look()
    number, data = read(board, number)
    assert "archive-code" in data["gone"]
    board.look()
    assert board.since(number) is None


def test_a_run_that_cannot_be_read_is_said_and_what_was_known_stays(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(30)
    board = board_of(run)
    number, before = read(board, 0)
    hidden = run.directory.ledger.rename(tmp_path / "hidden")
    board.look()
    number, data = read(board, number)
    assert "cannot be read now, trying again: expected a ledger" in data["notes"][0]
    assert (data["figures"], data["gone"]) == ([], [])
    assert data["facts"] == before["facts"]
    hidden.rename(run.directory.ledger)
    board.look()
    assert "trying again" not in " ".join(read(board, number)[1]["notes"])


def test_what_is_sent_holds_no_sign_of_html(tmp_path):
    names = ("<script>", "a&b", "c>d")
    run = MadeUpRun(tmp_path / "run", names=names).add(30)
    text = board_of(run).since(0).data
    assert not set("<>&") & set(text)
    assert "<script>" in json.dumps(json.loads(text))
