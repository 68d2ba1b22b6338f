"""What the samples of a run asked: read from its skills, once somebody looks."""

import threading
from collections.abc import Mapping

from lora_qd.errors import LoraQDError
from lora_qd.records import Sample, Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.skills import load_skills
from lora_qd.tasks.task import Task


class Prompts:
    """The questions by sample; a ledger keeps answers only."""

    def __init__(self, *, allow: bool = False) -> None:
        """Know nothing yet; ``allow`` is the consent to what a skill executes."""
        self._allow = allow
        self._lock = threading.Lock()
        self._tasks: Mapping[str, Task] | None = None
        self._problem = ""

    def of(
        self, config: RunConfig, skill: str, split: Split
    ) -> tuple[Mapping[str, str], str]:
        """Return the question of each sample, and why they are missing if they are.

        May take seconds the first time; call it in a thread.
        """
        with self._lock:
            if self._tasks is None and not self._problem:
                self._load(config)
            if self._tasks is None:
                return {}, self._problem
            try:
                samples = self._tasks[skill].samples(split)
            except (LoraQDError, KeyError) as error:
                return {}, f"The questions of {skill} cannot be shown: {error}"
        return {sample.id: _text(sample) for sample in samples}, ""

    def _load(self, config: RunConfig) -> None:
        try:
            self._tasks = load_skills(config, allow=self._allow, splits=())
        except LoraQDError as error:
            self._problem = f"The questions cannot be shown: {error}"


def _text(sample: Sample) -> str:
    before = [f"[{turn.role}] {turn.content}" for turn in sample.before]
    return "\n\n".join([*before, sample.prompt])
