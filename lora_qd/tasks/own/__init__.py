"""Skills of the user's own, described in YAML: rows, a prompt template, a scorer.

Belongs here: reading a skill's file, making samples of rows, scoring answers. Does not
belong here: which skills a run has, and whether the user consents to what they execute.
"""

from lora_qd.tasks.own.file import load_skill
from lora_qd.tasks.own.settings import DataSkill, InspectSkill, LmEvalSkill, OwnSkill
from lora_qd.tasks.own.task import OwnTask

__all__ = [
    "DataSkill",
    "InspectSkill",
    "LmEvalSkill",
    "OwnSkill",
    "OwnTask",
    "load_skill",
]
