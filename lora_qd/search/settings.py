"""The operators of CycleQD and their parameters."""

from dataclasses import dataclass

from lora_qd.variation import MutationForm, SelectionForm
from lora_qd.variation.crossover import Granularity


@dataclass(frozen=True, slots=True)
class CycleQDSettings:
    """How CycleQD breeds; the defaults of the config document each choice."""

    num_cells: int = 15
    """Cells of each measure axis."""
    selection: SelectionForm = SelectionForm.PAPER
    a_low: float = 0.5
    a_high: float = 0.8
    """Bounds of the elite weights."""
    crossover_sigma: float = 0.5
    """Standard deviation of the crossover weights around 1."""
    granularity: Granularity = Granularity.MODULE
    gain_sigma: float = 0.1
    """Standard deviation of the child's log gain."""
    mutation: MutationForm = MutationForm.RELATIVE
    w_max: float = 0.3
    """Bound of the mutation's draws."""
    static_gains: tuple[float, ...] = (0.4, 0.5, 0.6, 0.7, 0.8)
    """The archives also start from the experts' sum times each of these."""
