"""What a user says of a skill: data, prompt, answer and scorer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from lora_qd.tasks.bridges.inspect_settings import InspectSettings
from lora_qd.tasks.bridges.lm_eval_settings import LmEvalSettings
from lora_qd.tasks.own.scorers import AnyScorer
from lora_qd.tasks.own.templates import check_template
from lora_qd.tasks.published.source import Shares, SourceSettings, Strict


class OwnSource(SourceSettings):
    """The user's own rows: files, or a data set on the Hub."""

    split: str = "train"
    """The Hub data set's split; what it holds is split again by `shares`."""
    shares: Shares = Field(
        default_factory=lambda: Shares(search=0.2, validation=0.1, test=0.2)
    )
    """How the rows are split, by the hash of their id; what is left over trains the
    expert, and the examples of `few_shot` are drawn from it."""


class Turn(Strict):
    """One turn of a conversation, as a template."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """A Jinja template over the row's fields."""

    _check = field_validator("content")(check_template)


class DataSkill(Strict):
    """A skill over rows of the user's."""

    data: OwnSource
    """Where the rows come from."""
    id: str | None = None
    """The field that names a row, and decides its split; by default the whole row."""
    prompt: str | None = None
    """The question: a Jinja template over the row's fields, as in
    `What is the capital of {{ country }}?`"""
    messages: tuple[Turn, ...] = ()
    """A whole conversation instead of `prompt`; its last turn is the user's."""
    answer: str
    """The gold answer, a Jinja template; experts learn to write it."""
    aliases: str | None = None
    """The field with a list of other right answers."""
    few_shot: int = Field(default=0, ge=0)
    """Examples before the question, from the training share; the same for all."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""
    scorer: AnyScorer
    """How an answer is scored."""
    directory: Path | None = None
    """Where the module of a function scorer lies; the skill file's own by default."""

    @field_validator("prompt", "answer")
    @classmethod
    def _check_templates(cls, text: str | None) -> str | None:
        return text if text is None else check_template(text)

    @model_validator(mode="after")
    def _check_question(self) -> Self:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("name either prompt or messages")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("the last of messages is the user's: role: user")
        return self


class LmEvalSkill(Strict):
    """A task of lm-eval."""

    model_config = ConfigDict(serialize_by_alias=True)

    lm_eval: LmEvalSettings = Field(alias="lm-eval")
    """Which, and how."""


class InspectSkill(Strict):
    """A task of Inspect."""

    inspect: InspectSettings
    """Which, and how."""


def _kind_of(skill: object) -> str | None:
    """Return the key that tells the kinds of skills apart."""
    for key in ("data", "lm-eval", "inspect"):
        attribute = key.replace("-", "_")
        if (isinstance(skill, Mapping) and key in skill) or hasattr(skill, attribute):
            return key
    return None


OwnSkill = Annotated[
    Annotated[DataSkill, Tag("data")]
    | Annotated[LmEvalSkill, Tag("lm-eval")]
    | Annotated[InspectSkill, Tag("inspect")],
    Discriminator(
        _kind_of,
        custom_error_type="skill_kind",
        custom_error_message="expected one of the keys data, lm-eval or inspect",
    ),
]
"""A skill of the user's own."""
