"""What a coding skill is told."""

from typing import Self

from pydantic import Field, model_validator

from lora_qd.tasks.published.source import SourceSettings


class CodingSettings(SourceSettings):
    """A coding benchmark."""

    max_tokens: int = Field(default=512, ge=1)
    """Most tokens of one completion."""
    completions: int = Field(default=1, ge=1)
    """Completions per sample."""
    k: int = Field(default=1, ge=1)
    """A sample's score is the unbiased pass@k over its completions."""
    temperature: float = Field(default=0.0, ge=0)
    """Of sampling; 0 is greedy, and then there is one completion."""
    cpu_s: int = Field(default=10, ge=1)
    """Seconds of processor time that a completion and its tests may take, each."""

    @model_validator(mode="after")
    def _check_completions(self) -> Self:
        if self.k > self.completions:
            raise ValueError(
                f"pass@{self.k} needs at least {self.k} completions, not "
                f"{self.completions}"
            )
        if self.completions > 1 and not self.temperature:
            raise ValueError("several completions need a temperature above 0")
        return self
