"""What the skill ``agentbench-os`` is told."""

from pydantic import Field

from lora_qd.tasks.published.source import SourceSettings


class SystemSkillSettings(SourceSettings):
    """AgentBench's OS interaction."""

    max_tokens: int = Field(default=512, ge=1)
    """Most tokens of one answer."""
    rounds: int = Field(default=5, ge=1, le=20)
    """Most turns of the candidate."""
    scripts: str | None = None
    """The benchmark's `data/os_interaction/scripts`, for samples that name a script by
    its file; without it those are left out, and counted."""
    leave_out: tuple[str, ...] = ()
    """Ids of samples that cannot be had here, such as those that need a network."""
