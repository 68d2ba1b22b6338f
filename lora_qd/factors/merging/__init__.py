"""Merging members of one core space: :func:`merge` and the table of its methods."""

from lora_qd.factors.merging.merge import merge
from lora_qd.factors.merging.methods import METHODS, MergeMethod, Parameter
from lora_qd.factors.merging.weights import Weight

__all__ = ["METHODS", "MergeMethod", "Parameter", "Weight", "merge"]
