"""What a skill that is a task of Inspect is told."""

from typing import Any

from pydantic import Field

from lora_qd.tasks.published.source import Shares, Strict


class InspectSettings(Strict):
    """A task of Inspect."""

    task: str
    """A registered name such as `inspect_evals/gsm8k`, or `file.py@task`; a file runs
    Python, so it needs `--allow`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """The task's own arguments."""
    scorer: str | None = None
    """Which scorer, where the task has several; the first if not given."""
    metric: str | None = None
    """The key of the value, where a score is a mapping."""
    max_tokens: int = Field(default=512, ge=1)
    """Most tokens of one answer."""
    shares: Shares = Field(default_factory=Shares)
    """How the samples are split."""

    @property
    def runs_python(self) -> bool:
        """Whether loading it runs the Python of a file."""
        return "@" in self.task or self.task.endswith(".py")
