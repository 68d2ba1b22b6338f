"""Adapters x tasks -> scores. The only layer that knows both engines and tasks."""

from lora_qd.engines.groups import task_group
from lora_qd.evaluation.evaluator import Evaluation, Evaluator
from lora_qd.evaluation.intervals import Interval, mean_interval, wilson_interval
from lora_qd.evaluation.paired import Difference, paired_difference, paired_mean
from lora_qd.evaluation.stopping import Bounds, Stopping, Values, bounds_of

__all__ = [
    "Bounds",
    "Difference",
    "Evaluation",
    "Evaluator",
    "Interval",
    "Stopping",
    "Values",
    "bounds_of",
    "mean_interval",
    "paired_difference",
    "paired_mean",
    "task_group",
    "wilson_interval",
]
