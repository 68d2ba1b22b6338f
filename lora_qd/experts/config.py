"""What a person may say about experts in a config: data and training settings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)


class _Strict(BaseModel):
    """Unknown keys are errors; the text under a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class SkillData(_Strict):
    """Examples of a skill: a built-in one, or the training share of your own."""

    skill: str
    """Name of the skill."""


class _RowData(_Strict):
    """How a row becomes an example, and which rows count."""

    prompt_field: str = "prompt"
    """Field with the question: a text, or a list of turns."""
    completion_field: str = "completion"
    """Field with the answer: a text, or a list of turns."""
    messages_field: str = "messages"
    """Field with a whole conversation, a list of turns (`role` and `content`, or
    `from` and `value`); a row that has it needs no prompt and completion."""
    where: dict[str, str] = Field(default_factory=dict)
    """Regular expression by field; rows where one does not occur are left out. A field
    that is no text, such as a conversation, is searched as JSON."""

    @field_validator("where")
    @classmethod
    def _patterns_compile(cls, where: dict[str, str]) -> dict[str, str]:
        for pattern in where.values():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"expected a regular expression, but {pattern!r} is not: {error}"
                ) from error
        return where


class FileData(_RowData):
    """Examples from a JSONL file."""

    file: Path
    """The file, one JSON object per line."""


class HubData(_RowData):
    """Examples from a data set on the Hugging Face Hub, or a local directory of one."""

    hub: str
    """Id of the data set, or the path of a directory with its files."""
    split: str = "train"
    """Split of the data set."""
    subset: str | None = None
    """Configuration of the data set, where it has several."""
    revision: str | None = None
    """Branch, tag or commit; the newest if not given."""


def _kind_of(data: object) -> str | None:
    """Return the key that tells the kinds of data apart."""
    for kind in ("skill", "file", "hub"):
        if (isinstance(data, Mapping) and kind in data) or hasattr(data, kind):
            return kind
    return None


DataConfig = Annotated[
    Annotated[SkillData, Tag("skill")]
    | Annotated[FileData, Tag("file")]
    | Annotated[HubData, Tag("hub")],
    Discriminator(
        _kind_of,
        custom_error_type="data_kind",
        custom_error_message="expected one of the keys skill, file or hub",
    ),
]
"""Where the examples of an expert come from."""


class TrainingConfig(_Strict):
    """How experts are trained; shared by all experts of a run."""

    rank: PositiveInt = 16
    """Rank of the adapter."""
    alpha: PositiveInt = 32
    """The adapter's update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of inputs that the adapter drops while training."""
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    """Linear layers that get factors: all but the output head, or these by name."""
    learning_rate: PositiveFloat = 2e-4
    """Highest learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.03, ge=0.0, lt=1.0)
    """Share of the steps in which the learning rate rises."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay (AdamW)."""
    batch_size: PositiveInt = 32
    """Examples per optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Examples per forward pass, a divisor of `batch_size`; all if not given."""
    epochs: PositiveFloat = 1.0
    """Passes over the examples."""
    max_steps: PositiveInt | None = None
    """Optimiser steps at most, whatever `epochs` says."""
    max_length: PositiveInt = 1024
    """Longest example in tokens; longer ones are left out and counted."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the factors, the order of the examples and the generators."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the frozen base model and of the arithmetic."""
    quantization: Literal["none", "nf4"] = "none"
    """`nf4` trains on a base in 4 bits with double quantisation (QLoRA)."""
    gradient_checkpointing: bool = False
    """Compute activations twice to save memory."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA where there is a device."""

    @model_validator(mode="after")
    def _micro_batches_fill_a_batch(self) -> "TrainingConfig":
        if self.batch_size % (self.micro_batch_size or 1):
            raise ValueError(
                f"expected micro_batch_size to divide batch_size {self.batch_size}, "
                f"but got {self.micro_batch_size}"
            )
        return self


_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+:-]*$"


class AdapterConfig(_Strict):
    """One expert that is there already: an adapter of yours, or of somebody's."""

    name: str = Field(pattern=_NAME)
    """Name of the skill."""
    adapter: str = Field(min_length=1)
    """Its PEFT directory, or its Hub id: `owner/name[/folder][@revision]`."""


class ExpertConfig(_Strict):
    """One expert: its data, and where its training differs from the shared settings."""

    name: str = Field(pattern=_NAME)
    """Name of the expert and of its directory."""
    data: DataConfig
    """Where its examples come from: `skill`, `file` or `hub`."""
    num_examples: int | None = Field(default=None, ge=2)
    """Examples to take, drawn by the seed; all if not given. The generators of the
    built-in skills have no end and need a number."""
    learning_rate: PositiveFloat | None = None
    """Overrides the shared setting."""
    epochs: PositiveFloat | None = None
    """Overrides the shared setting."""
    batch_size: PositiveInt | None = None
    """Overrides the shared setting."""
    max_length: PositiveInt | None = None
    """Overrides the shared setting."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Overrides the shared setting."""

    def training(self, shared: TrainingConfig) -> TrainingConfig:
        """Return the shared settings with this expert's own in their place."""
        own = self.model_dump(exclude={"name", "data", "num_examples"})
        changed = {key: value for key, value in own.items() if value is not None}
        return TrainingConfig.model_validate(shared.model_dump() | changed)


def _origin_of(expert: object) -> str:
    """Return whether an expert is an adapter that is there, or is to be trained."""
    is_there = (isinstance(expert, Mapping) and "adapter" in expert) or isinstance(
        expert, AdapterConfig
    )
    return "adapter" if is_there else "training"


ExpertOrigin = Annotated[
    Annotated[AdapterConfig, Tag("adapter")] | Annotated[ExpertConfig, Tag("training")],
    Discriminator(_origin_of),
]
"""Where an expert comes from."""
