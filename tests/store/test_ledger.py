"""The ledger: whole transactions, in order, readable while it is written."""

import sqlite3

import numpy as np
import pytest

from lora_qd.errors import StoreError
from lora_qd.records import Member, Proposal, Score, Split, StageSeconds, Usage
from lora_qd.store.ledger import Ledger, best_first, mean

STAGES = StageSeconds(0.5, 0.25, 0.125, 2.0, 1.0)


def child(index, parents=("a", "b")):
    member = Member(f"m{index}", {"x": np.zeros((1, 1))})
    return Proposal(index, member, parents, "code", {"gain": 1.5})


def outcomes(*values):
    scores = {f"s{i}": Score(v, reason="no", answer="x") for i, v in enumerate(values)}
    return {"code": scores, "shell": {"s0": Score(1.0)}}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", is_new=True) as ledger:
        yield ledger


def test_children_come_back_in_the_order_of_their_birth(ledger):
    for index in (2, 0, 1):
        ledger.commit(child(index), outcomes(0.0, 1.0, 1.0, 0.0), STAGES)
    rows = ledger.children()
    assert [row.index for row in rows] == [0, 1, 2]
    assert rows[0].member == "m0"
    assert rows[0].parents == ("a", "b")
    assert rows[0].recipe == {"gain": 1.5}
    assert rows[0].scores == {"code": 0.5, "shell": 1.0}


def test_a_failed_commit_leaves_nothing(ledger):
    ledger.commit(child(0), outcomes(1.0), STAGES)
    with pytest.raises(
        StoreError, match=r"ledger\.sqlite, but got: UNIQUE.*free space"
    ):
        ledger.commit(child(0), outcomes(1.0), STAGES)
    assert len(ledger.children()) == 1
    ledger.commit(child(1), outcomes(1.0), STAGES)
    assert len(ledger.children()) == 2


def test_outcomes_are_kept_by_split(ledger):
    for split, value in ((Split.VALIDATION, 0.0), (Split.TEST, 1.0)):
        ledger.commit_outcomes("base", split, outcomes(value), STAGES)
    assert ledger.scores("base", Split.TEST)["code"] == 1.0
    assert ledger.scores("base", Split.VALIDATION)["code"] == 0.0
    assert ledger.scores("base", Split.SEARCH) == {}


def test_costs_are_kept_by_evaluation_with_their_tokens(ledger):
    told = {"code": {"s0": Score(1.0, num_prompt_tokens=7, num_tokens=3)}}
    ledger.commit(child(0), told | {"shell": told["code"]}, STAGES)
    ledger.commit_outcomes("base", Split.TEST, told, StageSeconds(generate=4.0))
    bred, base = ledger.costs()
    assert (bred.member, bred.split, bred.stages) == ("m0", Split.SEARCH, STAGES)
    assert (bred.num_prompt_tokens, bred.num_tokens) == (14, 6)
    assert (base.member, base.num_tokens) == ("base", 3)
    assert base.stages.total == 4.0


def test_each_session_keeps_its_last_usage(ledger):
    first = ledger.open_session(Usage(0.0, 0.0, 2))
    ledger.keep_usage(first, Usage(10.0, 18.0, 2))
    second = ledger.open_session(Usage(0.0, 0.0, 1))
    ledger.keep_usage(second, Usage(5.0, 4.0, 1, num_restarts=3))
    assert ledger.sessions() == [Usage(10.0, 18.0, 2), Usage(5.0, 4.0, 1, 3)]


def test_a_ledger_survives_closing(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, is_new=True) as ledger:
        ledger.write_manifest({"config": {"seed": 3}})
        ledger.commit(child(0), outcomes(1.0), STAGES)
    with Ledger(path) as ledger:
        assert ledger.manifest() == {"config": {"seed": 3}}
        assert [row.member for row in ledger.children()] == ["m0"]


def test_a_second_reader_sees_what_is_committed(tmp_path, ledger):
    ledger.commit(child(0), outcomes(1.0), STAGES)
    with Ledger(tmp_path / "ledger.sqlite") as reader:
        assert len(reader.children()) == 1


def test_a_missing_ledger_is_refused(tmp_path):
    with pytest.raises(StoreError, match="expected a ledger at .* there is none"):
        Ledger(tmp_path / "none.sqlite")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Ledger(path)


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, is_new=True):
        pass
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="version 2 at .* but got 99"):
        Ledger(path)


def test_best_first_prefers_the_older_of_equals(ledger):
    for index, value in enumerate((0.5, 1.0, 1.0)):
        ledger.commit(child(index), outcomes(value), STAGES)
    rows = best_first(ledger.children())
    assert [row.index for row in rows] == [1, 2, 0]
    assert mean(rows[0].scores) == 1.0
