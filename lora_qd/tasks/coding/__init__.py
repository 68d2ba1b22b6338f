"""HumanEval and MBPP, and both with EvalPlus's tests, from their published files."""

from lora_qd.tasks.coding.settings import CodingSettings
from lora_qd.tasks.coding.task import CodingTask, coding_task

__all__ = ["CodingSettings", "CodingTask", "coding_task"]
