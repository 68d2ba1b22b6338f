"""What a skill that is a task of lm-eval is told."""

from pathlib import Path

from pydantic import Field

from lora_qd.tasks.published.source import Shares, Strict


class LmEvalSettings(Strict):
    """A task, or a group of tasks, of lm-eval."""

    task: str
    """Its name, as `lm-eval ls tasks` shows it."""
    include: Path | None = None
    """A directory with tasks of your own, as `--include_path`. Their YAML can run
    Python, so this needs `--allow`."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; the task's own number if not given."""
    metric: str | None = None
    """Which metric is the score: a mean in [0, 1]; the task's first if not given."""
    filter: str | None = None
    """Which filter of the answers, where the task has several; the first if not
    given."""
    chat: bool = False
    """Whether prompts go through the base's chat template (`--apply_chat_template`)."""
    bos: bool = False
    """Whether the begin-of-text token goes before prompts that do not
    (`add_bos_token`)."""
    limit: int | None = Field(default=None, ge=1)
    """Samples of each task, from the first on; all if not given."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer, where the task does not say."""
    shares: Shares = Field(default_factory=Shares)
    """How the samples are split."""
