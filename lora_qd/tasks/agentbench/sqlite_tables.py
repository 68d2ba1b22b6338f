"""DBBench's tables in SQLite, inside the sandbox.

A table keeps no state: every statement runs in a job of its own, after those before it.
So equal conversations are one job, which the sandbox may remember.
"""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lora_qd.tasks.agentbench.database_protocol import cut, reply_of, state_hash
from lora_qd.tasks.agentbench.database_rows import Table
from lora_qd.tasks.agentbench.dialect import to_sqlite
from lora_qd.tasks.sandbox import Job, Limits, Sandbox
from lora_qd.tasks.sandbox.inside import statements

_LIMITS = Limits(cpu_s=2, wall_s=20.0, output_bytes=1 << 20)
_SOURCE = "from lora_qd.tasks.sandbox.inside.statements import main\nmain({!r})"


class SqliteTable:
    """One sample's table."""

    def __init__(self, sandbox: Sandbox, table: Table) -> None:
        self._sandbox = sandbox
        self._table = table
        self._statements: list[str] = []
        self._state = state_hash(table.rows)

    async def execute(self, statement: str) -> str:
        """Run one statement; return what MySQL's connector would show."""
        tried = [*self._statements, to_sqlite(statement)]
        table = self._table
        order = {"name": table.name, "columns": table.columns, "rows": table.rows}
        source = _SOURCE.format(json.dumps(order | {"statements": tried}))
        outcome = await self._sandbox.run(Job("python", source), _LIMITS)
        if not outcome.is_ok:  # too much of something; it never happened
            return cut(f"the statement {outcome.reason}")
        self._statements = tried
        answer = json.loads(outcome.output)
        state = answer["state"]
        self._state = "" if state is None else state_hash(state)
        if "error" in answer:
            return cut(answer["error"])
        return reply_of(answer["rows"])

    async def state(self) -> str:
        """Return the benchmark's hash of the table; empty if it is gone."""
        return self._state


class SqliteTables:
    """Opens tables in the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @asynccontextmanager
    async def open(self, table: Table) -> AsyncIterator[SqliteTable]:
        """Have a fresh table for the block."""
        yield SqliteTable(self._sandbox, table)


def why_not(table: Table, statement: str) -> str:
    """Return why SQLite cannot run a benchmark's own statement; empty if it can.

    Only for what the user's files hold; it runs in this process.
    """
    try:
        database = statements.open_table(table.name, table.columns, table.rows)
    except sqlite3.Error as error:
        return f"no table: {error}"
    try:
        return str(statements.execute(database, to_sqlite(statement)).get("error", ""))
    finally:
        database.close()
