"""How the ledger's SQLite file is opened: by its one writer, by any reader."""

import sqlite3
from contextlib import closing
from pathlib import Path

from lora_qd.errors import StoreError
from lora_qd.store.schema import VERSION, migrate, version_of


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open or make the file; older tables are brought up to date.

    Raises:
        StoreError: the tables are newer than this loraqd.
        sqlite3.Error: the file is damaged, or the file system refuses.
    """
    db = sqlite3.connect(path, isolation_level=None)
    try:
        _refuse_newer(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (report,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if report != "ok":
            raise sqlite3.DatabaseError(" ".join(report.split()))
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open the file without changing it; older tables are brought up to date in memory.

    Raises:
        StoreError: the tables are newer than this loraqd.
        sqlite3.Error: the file is damaged, or the file system refuses.
    """
    try:
        db = _connect(path, "mode=ro")
    except sqlite3.OperationalError:
        # A directory that may not be written: safe as long as no log is pending.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        db = _connect(path, "immutable=1")
    if version_of(db) == VERSION:
        return db
    with closing(db):
        memory = sqlite3.connect(":memory:", isolation_level=None)
        db.backup(memory)
    migrate(memory)
    return memory


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        _refuse_newer(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _refuse_newer(db: sqlite3.Connection, path: Path) -> None:
    version = version_of(db)
    if version > VERSION:
        raise StoreError(
            f"expected a ledger of version {VERSION} or older at {path}, but got "
            f"{version}; use the loraqd that wrote it"
        )
