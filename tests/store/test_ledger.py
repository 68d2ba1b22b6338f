"""The ledger: whole transactions, in order, readable while it is written."""

import sqlite3

import numpy as np
import pytest

from lora_qd.errors import StoreError
from lora_qd.records import Member, Proposal, Score, Scored, Split, StageSeconds, Usage
from lora_qd.store.ledger import Ledger, best_first, mean

STAGES = StageSeconds(0.5, 0.25, 0.125, 2.0, 1.0)


def child(index, parents=("a", "b")):
    member = Member(f"m{index}", {"x": np.zeros((1, 1))})
    return Proposal(index, member, parents, "code", {"gain": 1.5})


def commit(ledger, child, outcomes, stages=STAGES):
    scores = {t: sum(s.value for s in o.values()) / len(o) for t, o in outcomes.items()}
    ledger.commit(child, f"hash-{child.index}", scores, Scored(outcomes, stages))


def outcomes(*values):
    scores = {f"s{i}": Score(v, reason="no", answer="x") for i, v in enumerate(values)}
    return {"code": scores, "shell": {"s0": Score(1.0)}}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", is_writer=True) as ledger:
        yield ledger


def test_children_come_back_in_the_order_of_their_birth(ledger):
    for index in (2, 0, 1):
        commit(ledger, child(index), outcomes(0.0, 1.0, 1.0, 0.0))
    rows = ledger.children()
    assert [row.index for row in rows] == [0, 1, 2]
    assert rows[0].member == "m0"
    assert rows[0].parents == ("a", "b")
    assert rows[0].recipe == {"gain": 1.5}
    assert rows[0].scores == {"code": 0.5, "shell": 1.0}


def test_a_failed_commit_leaves_nothing(ledger):
    commit(ledger, child(0), outcomes(1.0))
    with pytest.raises(
        StoreError, match=r"ledger\.sqlite, but got: UNIQUE.*free space"
    ):
        commit(ledger, child(0), outcomes(1.0))
    assert len(ledger.children()) == 1
    commit(ledger, child(1), outcomes(1.0))
    assert len(ledger.children()) == 2


def test_outcomes_are_kept_by_split(ledger):
    for split, value in ((Split.VALIDATION, 0.0), (Split.TEST, 1.0)):
        ledger.commit_outcomes("base", split, Scored(outcomes(value), STAGES))
    assert ledger.scores("base", Split.TEST)["code"] == 1.0
    assert ledger.scores("base", Split.VALIDATION)["code"] == 0.0
    assert ledger.scores("base", Split.SEARCH) == {}


def test_costs_are_kept_by_evaluation_with_their_tokens(ledger):
    told = {"code": {"s0": Score(1.0, num_prompt_tokens=7, num_tokens=3)}}
    commit(ledger, child(0), told | {"shell": told["code"]})
    ledger.commit_outcomes("base", Split.TEST, Scored(told, StageSeconds(generate=4.0)))
    bred, base = ledger.costs()
    assert (bred.member, bred.split, bred.stages) == ("m0", Split.SEARCH, STAGES)
    assert (bred.num_prompt_tokens, bred.num_tokens) == (14, 6)
    assert (base.member, base.num_tokens) == ("base", 3)
    assert base.stages.total == 4.0


def test_each_session_keeps_its_last_usage(ledger):
    assert ledger.last_session() == {}
    first = ledger.open_session({"config": 1})
    ledger.keep_usage(first, Usage(10.0, 18.0, 2))
    second = ledger.open_session({"config": 2})
    ledger.keep_usage(second, Usage(5.0, 4.0, 1, num_restarts=3))
    assert ledger.sessions() == [Usage(10.0, 18.0, 2), Usage(5.0, 4.0, 1, 3)]
    assert ledger.last_session() == {"config": 2}


def test_a_ledger_survives_closing(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, is_writer=True) as ledger:
        ledger.write_manifest({"config": {"seed": 3}})
        commit(ledger, child(0), outcomes(1.0))
    with Ledger(path) as ledger:
        assert ledger.manifest() == {"config": {"seed": 3}}
        assert [row.member for row in ledger.children()] == ["m0"]


def test_a_second_reader_sees_what_is_committed(tmp_path, ledger):
    commit(ledger, child(0), outcomes(1.0))
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
    with Ledger(path, is_writer=True):
        pass
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="version 4 or older at .* but got 99"):
        Ledger(path)


def test_best_first_prefers_the_older_of_equals(ledger):
    for index, value in enumerate((0.5, 1.0, 1.0)):
        commit(ledger, child(index), outcomes(value))
    rows = best_first(ledger.children())
    assert [row.index for row in rows] == [1, 2, 0]
    assert mean(rows[0].scores) == 1.0


FIRST_TABLES = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE children (
    idx INTEGER PRIMARY KEY, member TEXT NOT NULL UNIQUE, task TEXT NOT NULL,
    parents TEXT NOT NULL, recipe TEXT NOT NULL
);
CREATE TABLE outcomes (
    member TEXT NOT NULL, split TEXT NOT NULL, task TEXT NOT NULL,
    sample TEXT NOT NULL, value REAL NOT NULL, reason TEXT NOT NULL,
    answer TEXT NOT NULL, num_prompt_tokens INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL, PRIMARY KEY (member, split, task, sample)
) WITHOUT ROWID;
CREATE TABLE costs (member TEXT NOT NULL, split TEXT NOT NULL, seconds REAL NOT NULL);
INSERT INTO manifest VALUES ('config', '{"seed": 3}');
INSERT INTO children VALUES (0, 'expert-code', '', '[]', '{}');
INSERT INTO children VALUES (1, '00001-ab', 'code', '["expert-code"]', '{"gain": 2.0}');
INSERT INTO outcomes VALUES ('expert-code', 'search', 'code', 'a', 1, '', 'x', 5, 2);
INSERT INTO outcomes VALUES ('expert-code', 'search', 'code', 'b', 0, 'no', 'y', 5, 2);
INSERT INTO outcomes VALUES ('expert-code', 'search', 'code', 'c', 0, 'no', 'y', 5, 2);
INSERT INTO outcomes VALUES ('00001-ab', 'search', 'code', 'a', 1, '', 'x', 5, 3);
INSERT INTO outcomes VALUES ('00001-ab', 'test', 'code', 'z', 0.5, '', 'x', 5, 3);
INSERT INTO costs VALUES ('expert-code', 'search', 1.5);
INSERT INTO costs VALUES ('00001-ab', 'search', 2.5);
PRAGMA user_version = 1;
"""


@pytest.mark.parametrize("is_writer", [True, False])
def test_a_ledger_of_the_first_version_is_migrated_with_nothing_lost(
    tmp_path, is_writer
):
    path = tmp_path / "ledger.sqlite"
    database = sqlite3.connect(path)
    database.executescript(FIRST_TABLES)
    database.close()
    before = path.read_bytes()
    with Ledger(path, is_writer=is_writer) as ledger:
        expert, bred = ledger.children()
        assert ledger.manifest() == {"config": {"seed": 3}}
        assert expert.scores == {"code": 1 / 3}
        assert (bred.parents, bred.recipe) == (("expert-code",), {"gain": 2.0})
        assert (bred.scores, bred.genome) == ({"code": 1.0}, None)
        assert ledger.values("00001-ab", Split.TEST) == {"code": [0.5]}
        assert ledger.outcomes("expert-code", Split.SEARCH, "code")["b"].answer == "y"
        assert [cost.stages.total for cost in ledger.costs()] == [1.5, 2.5]
        assert ledger.costs()[0].num_tokens == 6
        assert ledger.sessions() == []
    assert (path.read_bytes() == before) is not is_writer
    with Ledger(path, is_writer=True) as ledger:  # and goes on as a new one would
        commit(ledger, child(2), outcomes(1.0))
        assert len(ledger.children()) == 3


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path):
    path = tmp_path / "ledger.sqlite"
    database = sqlite3.connect(path)
    database.executescript(FIRST_TABLES)
    database.execute("CREATE TABLE genomes (in_the_way)")
    database.close()
    with pytest.raises(StoreError, match="table genomes already exists"):
        Ledger(path, is_writer=True)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    assert database.execute("SELECT seconds FROM costs").fetchall() == [(1.5,), (2.5,)]
    database.close()


def test_scores_come_back_to_the_last_bit(ledger):
    scores = {"code": 1 / 3, "shell": 0.1 + 0.2}
    ledger.commit(child(0), "hash", scores, Scored(outcomes(1.0), STAGES))
    assert ledger.children()[0].scores == scores


def test_a_reader_writes_nothing(tmp_path, ledger):
    with (
        Ledger(tmp_path / "ledger.sqlite") as reader,
        pytest.raises(StoreError, match="attempt to write a readonly database"),
    ):
        commit(reader, child(0), outcomes(1.0))
