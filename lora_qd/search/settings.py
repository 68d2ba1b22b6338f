"""The operators of CycleQD and their parameters."""

from dataclasses import dataclass, field

from lora_qd.variation import CrossoverSettings, MutationForm, SelectionForm


@dataclass(frozen=True, slots=True)
class CycleQDSettings:
    """How CycleQD breeds; the defaults of the config document each choice."""

    num_cells: int = 15
    """Cells of each measure axis."""
    selection: SelectionForm = SelectionForm.PAPER
    a_low: float = 0.05
    a_high: float = 1.0
    """Bounds of the elite weights."""
    parents: int = 3
    """Elites that a child is bred from."""
    crossing: CrossoverSettings = field(
        default_factory=lambda: CrossoverSettings(0.5, gain_sigma=0.1, keep_norm=True)
    )
    """How the parents become a child."""
    tilt_sigma: float = 0.4
    """Standard deviation of the log exponent on the child's singular values."""
    mutation: MutationForm = MutationForm.RELATIVE
    w_max: float = 0.1
    """Bound of the mutation's draws."""
    static_gains: tuple[float, ...] = (0.4, 0.5, 0.6, 0.7, 0.8)
    """The archives also start from the experts' sum times each of these."""
