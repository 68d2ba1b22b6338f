"""What a scorer is told of a sample besides the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_qd.records import Sample
from lora_qd.tasks.rows import Row


@dataclass(frozen=True, slots=True)
class Question:
    """One sample with the row that it was made of."""

    sample: Sample
    row: Row
    targets: tuple[str, ...]
    """Right answers; the first is the gold one."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The row's fields, with ``question`` and ``target`` where it has none."""
        return {
            "question": self.sample.prompt,
            "target": self.targets[0],
            **self.row.fields,
        }
