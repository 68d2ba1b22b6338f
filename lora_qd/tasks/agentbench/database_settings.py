"""What the skill ``agentbench-db`` is told."""

from pydantic import Field

from lora_qd.tasks.published.source import SourceSettings


class DatabaseSettings(SourceSettings):
    """AgentBench's DBBench."""

    max_tokens: int = Field(default=512, ge=1)
    """Most tokens of one answer."""
    rounds: int = Field(default=5, ge=1, le=20)
    """Most statements before the final answer."""
    mysql_url_env: str | None = None
    """The environment variable with the URL of a MySQL or MariaDB server, such as
    `mysql://root:secret@127.0.0.1:3306` or `mysql://root@localhost/?unix_socket=/x`;
    without it SQLite stands in. Its account must be able to create users."""
