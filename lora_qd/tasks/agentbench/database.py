"""The skill ``agentbench-db``: a question about a table -> SQL, in several rounds."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lora_qd.records import Generate, Message, Sample, Score, Split
from lora_qd.tasks.agentbench import mysql_tables, sqlite_tables
from lora_qd.tasks.agentbench.database_protocol import (
    AGREEMENT,
    INSTRUCTION,
    action_of,
    are_right,
)
from lora_qd.tasks.agentbench.database_rows import Table, database_sample
from lora_qd.tasks.agentbench.database_settings import DatabaseSettings
from lora_qd.tasks.agentbench.mysql_url import url_of
from lora_qd.tasks.published.conversation import Conversation, Verdict
from lora_qd.tasks.published.samples import PublishedSamples
from lora_qd.tasks.published.source import read_source
from lora_qd.tasks.sandbox import Sandbox

NAME = "agentbench-db"


class OpenTable(Protocol):
    """One sample's table in some database."""

    async def execute(self, statement: str) -> str:
        """Run one statement; return what MySQL's connector would show."""
        ...

    async def state(self) -> str:
        """Return the benchmark's hash of the table; empty if it is gone."""
        ...


class Tables(Protocol):
    """A database that opens tables."""

    def open(self, table: Table) -> AbstractAsyncContextManager[OpenTable]:
        """Have a fresh table for the block."""
        ...


class DatabaseTask:
    """Questions and changes, on SQLite or on a MySQL server."""

    name = NAME

    def __init__(self, settings: DatabaseSettings, sandbox: Sandbox) -> None:
        """Read the samples that ``settings`` name.

        Raises:
            InputError: a row is wrong, or the URL's variable is not set.
            MissingExtraError: SQLite needs the extra ``sql`` for MySQL's dialect.
        """
        self._settings = settings
        self._tables: Tables = sqlite_tables.SqliteTables(sandbox)
        if settings.mysql_url_env:
            url = url_of(settings.mysql_url_env)
            self._tables = mysql_tables.MysqlTables(url)
        source = read_source(settings)
        self.sha256 = source.sha256
        samples = {row.where: database_sample(row, NAME) for row in source.rows}
        why_not = _why_not_mysql if settings.mysql_url_env else _why_not_sqlite
        reasons = {
            place: Table.of(sample.checks).fault or why_not(sample)
            for place, sample in samples.items()
        }
        self.left_out: Mapping[str, str] = {p: r for p, r in reasons.items() if r}
        PublishedSamples(samples, settings.shares)  # refuses ids that occur twice
        kept = {p: s for p, s in samples.items() if p not in self.left_out}
        self._samples = PublishedSamples(kept, settings.shares)

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples that this database can judge, of all splits."""
        return self._samples.all

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return what a candidate is asked first."""
        return (
            Message("user", INSTRUCTION),
            Message("assistant", AGREEMENT),
            Message("user", sample.prompt),
        )

    def gold(self, sample: Sample) -> Sequence[str]:
        """Return the benchmark's own change, or its answers."""
        if sample.checks["changes"]:
            change = f"Action: Operation\n```sql\n{sample.target}\n```"
            return (change, 'Action: Answer\nFinal Answer: ["done"]')
        answers = ", ".join(map(repr, sample.checks["gold"]))
        return (f"Action: Answer\nFinal Answer: [{answers}]",)

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Let the candidate operate, and judge its answer or what it left.

        Raises:
            SandboxError: there is no working sandbox, or the server is gone.
        """
        talk = Conversation(
            self.opening(sample), generate, max_tokens=self._settings.max_tokens
        )
        async with self._tables.open(Table.of(sample.checks)) as table:
            return talk.score(await self._judge(sample, talk, table))

    async def _judge(
        self, sample: Sample, talk: Conversation, table: OpenTable
    ) -> Verdict:
        text, num_rounds = await talk.ask(), 0
        while text is not None:
            action = action_of(text)
            if action.fault:
                return Verdict(0.0, action.fault)
            if action.answers is not None:
                return await _verdict(sample, action.answers, table)
            if num_rounds == self._settings.rounds:
                return Verdict(0.0, f"no final answer after {num_rounds} operations")
            num_rounds += 1
            text = await talk.ask(await table.execute(action.statement or ""))
        return Verdict(0.0, "the conversation outgrew the context")


async def _verdict(sample: Sample, answers: Sequence[str], table: OpenTable) -> Verdict:
    gold = sample.checks["gold"]
    if sample.checks["changes"]:
        if await table.state() == gold:
            return Verdict(1.0)
        return Verdict(0.0, "the table is not as it should be afterwards")
    if are_right(answers, gold):
        return Verdict(1.0)
    return Verdict(0.0, f"answered {list(answers)!r:.80} instead of {gold!r:.80}")


def _why_not_mysql(sample: Sample) -> str:
    return mysql_tables.why_not(Table.of(sample.checks))


def _why_not_sqlite(sample: Sample) -> str:
    """Return why SQLite cannot run the gold change; empty if it can."""
    change = sample.target if sample.checks["changes"] else "SELECT 1"
    reason = sqlite_tables.why_not(Table.of(sample.checks), change)
    return reason and f"MySQL only, set mysql_url_env: {reason}"
