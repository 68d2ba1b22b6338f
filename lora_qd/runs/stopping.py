"""Which children of a run are left in the middle: those that no archive will take.

A child is judged against the archives as they were when it was proposed. Later ones
only refuse more, and these do not depend on timing.
"""

from collections.abc import Mapping

from numpy.random import SeedSequence

from lora_qd.archive import GridArchive, chance_to_enter, forecast
from lora_qd.evaluation import Stopping, Values, bounds_of
from lora_qd.runs.search_config import SearchConfig, StoppingForm

_ORDER = 1
"""Separates the draw of the samples' order from the child's other draws."""


def stopping_of(
    search: SearchConfig, seed: int, index: int, archives: Mapping[str, GridArchive]
) -> Stopping | None:
    """Return when child ``index`` may be left; None: never.

    Args:
        search: says how.
        seed: the run's.
        index: of the child.
        archives: by skill, as they are when it is proposed; empty for a seed.
    """
    if search.stopping is StoppingForm.NONE or not archives:
        return None
    then = [archive.copy() for archive in archives.values()]

    def cannot_enter(values: Values, num_samples: Mapping[str, int]) -> bool:
        bounds = bounds_of(values, num_samples)
        return all(a.is_closed_to(bounds.low, bounds.high) for a in then)

    def hardly_enters(values: Values, num_samples: Mapping[str, int]) -> bool:
        forecasts = {t: forecast(values[t], n) for t, n in num_samples.items()}
        # The chance to enter any is at most the sum of those to enter each.
        return sum(chance_to_enter(a, forecasts) for a in then) <= search.stopping_error

    if search.stopping is StoppingForm.EXACT:
        return Stopping(chunk=search.stopping_chunk, may_leave=cannot_enter)
    return Stopping(
        chunk=search.stopping_chunk,
        may_leave=hardly_enters,
        order=SeedSequence(seed, spawn_key=(index, _ORDER)),
    )
