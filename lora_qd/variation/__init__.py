"""Selection, crossover, mutation, aggregation: pure functions with an ``rng`` argument.

Knows neither how archives are stored nor who scores a child.
"""

from lora_qd.variation.aggregation import aggregate, softmax_weights
from lora_qd.variation.crossover import Crossing, CrossoverSettings, crossover
from lora_qd.variation.mutation import MutationForm, mutate
from lora_qd.variation.selection import (
    SelectionForm,
    elite_probabilities,
    sample_elites,
)
from lora_qd.variation.tilt import tilt

__all__ = [
    "Crossing",
    "CrossoverSettings",
    "MutationForm",
    "SelectionForm",
    "aggregate",
    "crossover",
    "elite_probabilities",
    "mutate",
    "sample_elites",
    "softmax_weights",
    "tilt",
]
