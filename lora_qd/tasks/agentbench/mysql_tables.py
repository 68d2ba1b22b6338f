"""DBBench's tables on a MySQL or MariaDB server.

Every sample has a database and an account of its own, which has rights on nothing
else; both are dropped afterwards. Statements of candidates run as that account.
"""

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from lora_qd.errors import InputError, MissingExtraError, SandboxError
from lora_qd.tasks.agentbench.database_protocol import cut, reply_of
from lora_qd.tasks.agentbench.database_rows import Table
from lora_qd.tasks.agentbench.mysql_url import Url

_MOST_AT_ONCE = 8
_MOST_ROWS = 1000
_MOST_NAME = 64
_STATEMENT_S = 5
_SILENT_S = 15
_SETTINGS = (
    "SET SESSION sql_mode = 'ONLY_FULL_GROUP_BY,NO_ZERO_IN_DATE,NO_ZERO_DATE,"
    "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
)
"""MySQL 8's without its strictness, which one of the published hashes excludes."""
_HASH = (
    "SELECT md5(group_concat(h ORDER BY h)) FROM (SELECT substring(md5("
    "concat_ws(',', {columns})), 1, 5) AS h FROM {table}) AS hashes"
)


class MysqlTable:
    """One sample's table; all calls block."""

    def __init__(self, url: Url, table: Table) -> None:
        """Make a database, an account for it, and the table.

        Raises:
            InputError: the server refuses the account of the URL, or the table.
            SandboxError: there is no server.
        """
        self._url = url
        self._table = table
        self._name = f"loraqd_{secrets.token_hex(8)}"
        self._password = secrets.token_hex(16)
        self._connection: Any = None
        with _as_ours(url):
            self._admin = _connect(url, user=url.user, password=url.password)
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def execute(self, statement: str) -> str:
        """Run one statement of a candidate; return what it would see."""
        import pymysql

        watch = threading.Timer(_STATEMENT_S, self._kill)
        watch.start()
        try:
            self._reconnect()
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
                rows = cursor.fetchmany(_MOST_ROWS) if cursor.description else ()
            self._connection.commit()
            return reply_of(rows)
        except pymysql.MySQLError as error:
            return cut(str(error.args[-1] if error.args else error))
        except (ValueError, TypeError) as error:
            return cut(str(error))
        finally:
            watch.cancel()

    def state(self) -> str:
        """Return the benchmark's own query over the table; empty if it is gone."""
        import pymysql

        columns = ", ".join(map(_quoted, self._table.columns))
        table = f"{_quoted(self._name)}.{_quoted(self._table.name)}"
        try:
            with _as_ours(self._url), self._admin.cursor() as cursor:
                self._admin.rollback()  # a new look at what was committed
                cursor.execute("SET SESSION group_concat_max_len = 1024")
                try:
                    cursor.execute(_HASH.format(columns=columns, table=table))
                except (pymysql.ProgrammingError, pymysql.OperationalError) as error:
                    if error.args[0] in _CONNECTION_ERRORS:
                        raise
                    return ""
                return reply_of(cursor.fetchall())
        except pymysql.InternalError:
            return ""

    def close(self) -> None:
        """Drop the database and its account."""
        import pymysql

        if self._connection is not None:
            with contextlib.suppress(pymysql.MySQLError, OSError):
                self._kill()
                self._connection.close()
        with contextlib.suppress(pymysql.MySQLError, OSError):
            with self._admin.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {_quoted(self._name)}")
                cursor.execute(f"DROP USER IF EXISTS '{self._name}'@'%'")
            self._admin.close()

    def _prepare(self) -> None:
        name = _quoted(self._name)
        pattern = _quoted(self._name.replace("_", r"\_"))
        with self._admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            cursor.execute(
                f"CREATE USER '{self._name}'@'%' IDENTIFIED BY '{self._password}'"
            )
            cursor.execute(f"GRANT ALL ON {pattern}.* TO '{self._name}'@'%'")
            table = f"{name}.{_quoted(self._table.name)}"
            declared = ", ".join(f"{_quoted(c)} TEXT" for c in self._table.columns)
            cursor.execute(f"CREATE TABLE {table} ({declared})")
            if self._table.rows:
                marks = ", ".join("%s" for _ in self._table.columns)
                cursor.executemany(
                    f"INSERT INTO {table} VALUES ({marks})", self._table.rows
                )
        self._admin.commit()

    def _reconnect(self) -> None:
        """Connect as the sample's account, once more after a killed statement."""
        if self._connection is None or not self._connection.open:
            self._connection = _connect(
                self._url,
                user=self._name,
                password=self._password,
                database=self._name,
            )
            with self._connection.cursor() as cursor:
                cursor.execute(_SETTINGS)

    def _kill(self) -> None:
        """End what the sample's account does; by the admin's own new connection."""
        import pymysql

        with contextlib.suppress(pymysql.MySQLError, OSError):
            admin = _connect(
                self._url, user=self._url.user, password=self._url.password
            )
            with contextlib.closing(admin), admin.cursor() as cursor:
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE user = %s",
                    (self._name,),
                )
                for (number,) in cursor.fetchall():
                    cursor.execute(f"KILL {int(number)}")


_CONNECTION_ERRORS = {2003, 2006, 2013, 2055}


class _Opened:
    """A table whose calls run in threads."""

    def __init__(self, table: MysqlTable) -> None:
        self._table = table

    async def execute(self, statement: str) -> str:
        """Run one statement; return what MySQL's connector would show."""
        return await asyncio.to_thread(self._table.execute, statement)

    async def state(self) -> str:
        """Return the benchmark's hash of the table; empty if it is gone."""
        return await asyncio.to_thread(self._table.state)


class MysqlTables:
    """Opens tables on a server, a few at a time."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        # Of our own: what it began is done even if the event loop ends meanwhile.
        self._threads = ThreadPoolExecutor(2 * _MOST_AT_ONCE, "mysql")

    @asynccontextmanager
    async def open(self, table: Table) -> AsyncIterator[_Opened]:
        """Have a fresh table for the block; all of it is dropped afterwards.

        Raises:
            InputError: the server refuses the account of the URL, or the table.
            SandboxError: there is no server.
        """
        async with self._places:
            making = self._threads.submit(MysqlTable, self._url, table)
            try:
                yield _Opened(await asyncio.shield(asyncio.wrap_future(making)))
            finally:
                closing = self._threads.submit(_close, making)
                await asyncio.shield(asyncio.wrap_future(closing))


def _close(making: "Future[MysqlTable]") -> None:
    """Drop a table, even one that nobody waited for."""
    if making.exception() is None:
        making.result().close()


def why_not(table: Table) -> str:
    """Return why MySQL cannot hold a benchmark's own table; empty if it can."""
    for name in (table.name, *table.columns):
        if not name or name.endswith(" ") or len(name) > _MOST_NAME:
            return f"no MySQL server takes the name {name!r:.80}"
    return ""


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _connect(url: Url, *, user: str, password: str, database: str | None = None) -> Any:  # noqa: ANN401
    try:
        import pymysql
    except ImportError as error:
        raise MissingExtraError("a MySQL or MariaDB server", "sql") from error
    connection = pymysql.connect(
        host=url.host,
        port=url.port,
        unix_socket=url.unix_socket,
        user=user,
        password=password,
        database=database,
        charset="utf8mb4",
        connect_timeout=_SILENT_S,
        read_timeout=_SILENT_S,
        write_timeout=_SILENT_S,
        local_infile=False,
        defer_connect=True,
    )
    connection.connect(_unix_socket(url.unix_socket) if url.unix_socket else None)
    return connection


def _unix_socket(path: str) -> socket.socket:
    """Connect here, since PyMySQL 1.2 leaves a socket open that fails to connect."""
    import pymysql

    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(_SILENT_S)
        link.connect(path)
    except OSError as error:
        link.close()
        raise pymysql.OperationalError(2003, f"Can't connect to {path}") from error
    return link


@contextlib.contextmanager
def _as_ours(url: Url) -> Iterator[None]:
    """Turn a server's failure into one of our errors."""
    try:
        import pymysql
    except ImportError as error:
        raise MissingExtraError("a MySQL or MariaDB server", "sql") from error
    try:
        yield
    except pymysql.OperationalError as error:
        number, text = error.args[0], str(error.args[-1])
        if number in _CONNECTION_ERRORS:
            raise SandboxError(
                f"expected a MySQL or MariaDB server at {url.where}, but got: {text}; "
                "start it, or leave mysql_url_env out for SQLite"
            ) from error
        raise InputError(
            f"expected an account at {url.where} that may create databases and users, "
            f"but got: {text}; use an administrator's"
        ) from error
    except pymysql.MySQLError as error:
        raise InputError(
            f"expected the server at {url.where} to hold a sample's table, but got: "
            f"{error.args[-1]}; leave mysql_url_env out for SQLite"
        ) from error
