"""The tables of the ledger, as the list of changes that led to them.

The list only grows: a ledger of any age becomes today's by the changes that it has not
seen, and a new one by all of them.
"""

import json
import sqlite3
from collections.abc import Callable


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    db.execute(
        "CREATE TABLE children ("
        "  idx INTEGER PRIMARY KEY,"  # order of birth and of insertion
        "  member TEXT NOT NULL UNIQUE,"
        "  task TEXT NOT NULL,"  # whose archive it was bred in; '' for a seed
        "  parents TEXT NOT NULL,"  # JSON list of members, in the order drawn
        "  recipe TEXT NOT NULL)"  # JSON: operators and their draws
    )
    db.execute(
        "CREATE TABLE outcomes ("
        "  member TEXT NOT NULL,"  # or 'base'
        "  split TEXT NOT NULL,"
        "  task TEXT NOT NULL,"
        "  sample TEXT NOT NULL,"
        "  value REAL NOT NULL,"
        "  reason TEXT NOT NULL,"
        "  answer TEXT NOT NULL,"
        "  num_prompt_tokens INTEGER NOT NULL,"
        "  num_tokens INTEGER NOT NULL,"
        "  PRIMARY KEY (member, split, task, sample)) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE costs ("
        "  member TEXT NOT NULL, split TEXT NOT NULL, seconds REAL NOT NULL)"
    )


def _split_costs_into_stages(db: sqlite3.Connection) -> None:
    """Older costs are one number, which counts as generation."""
    db.execute("ALTER TABLE costs RENAME TO old_costs")
    db.execute(
        "CREATE TABLE costs ("  # seconds of wall time; the stages add up
        "  member TEXT NOT NULL,"
        "  split TEXT NOT NULL,"
        "  wait REAL NOT NULL,"
        "  materialise REAL NOT NULL,"
        "  load REAL NOT NULL,"
        "  generate REAL NOT NULL,"
        "  score REAL NOT NULL)"
    )
    db.execute(
        "INSERT INTO costs SELECT member, split, 0, 0, 0, seconds, 0 FROM old_costs "
        "ORDER BY rowid"
    )
    db.execute("DROP TABLE old_costs")
    db.execute(
        "CREATE TABLE sessions ("  # what each driver used of its engines so far
        "  id INTEGER PRIMARY KEY,"
        "  seconds REAL NOT NULL,"
        "  busy_s REAL NOT NULL,"  # with a request in flight, over all engines
        "  num_engines INTEGER NOT NULL,"
        "  num_restarts INTEGER NOT NULL)"
    )


def _keep_hashes_and_scores(db: sqlite3.Connection) -> None:
    """Keep what a replay needs beside each child, and who each driver was."""
    # JSON of mean score by task: exactly what the searcher was told.
    db.execute("ALTER TABLE children ADD COLUMN scores TEXT NOT NULL DEFAULT '{}'")
    # SHA-256 of its cores; NULL for a child that is older than this column.
    db.execute("ALTER TABLE children ADD COLUMN genome TEXT")
    means: dict[str, dict[str, float]] = {}
    for member, task, total, num in db.execute(
        "SELECT member, task, sum(value), count(*) FROM outcomes "
        "WHERE split = 'search' GROUP BY member, task"
    ):
        means.setdefault(member, {})[task] = total / num
    db.executemany(
        "UPDATE children SET scores = ? WHERE member = ?",
        [(json.dumps(scores), member) for member, scores in means.items()],
    )
    db.execute(
        "CREATE TABLE genomes ("  # of members that are nobody's child
        "  member TEXT PRIMARY KEY, genome TEXT NOT NULL)"
    )
    # JSON: config, versions, machine.
    db.execute("ALTER TABLE sessions ADD COLUMN about TEXT NOT NULL DEFAULT '{}'")


def _count_what_was_left(db: sqlite3.Connection) -> None:
    """Keep how many samples of the search split a child was not asked."""
    db.execute("ALTER TABLE children ADD COLUMN num_left INTEGER NOT NULL DEFAULT 0")


_CHANGES: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _make_tables,
    _split_costs_into_stages,
    _keep_hashes_and_scores,
    _count_what_was_left,
)
VERSION = len(_CHANGES)
"""Of the tables as they are today."""


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the tables in ``db``; 0 where there are none yet."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the tables in ``db`` to :data:`VERSION`, all or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for change in _CHANGES[version_of(db) :]:
            change(db)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has ended it by itself
            db.execute("ROLLBACK")
        raise
