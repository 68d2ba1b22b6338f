"""loraqd: evolve LoRA adapters by CycleQD on their low-rank factors.

The layers, top to bottom, import only what lies below them (checked by
``make check``):

==================================== ===========================================
``cli``                              the commands; calls the other front ends
``hub`` ``serving`` ``dashboard``    sharing, serving, watching
``runs``                             config, the loop, the final table
``evaluation`` | ``experts``         adapters x tasks -> scores | TRL training
``store`` | ``engines`` | ``tasks``  disk | generation | samples and scoring
``search``                           ask/tell searchers
``variation``                        selection, crossover, mutation
``archive`` | ``factors``            MAP-Elites grid | low-rank algebra
``records``, ``errors``              what crosses layers
==================================== ===========================================

Importing this package imports none of them, so it is fast; ``lora_qd.Run``, which reads
a run from Python, is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora_qd.runs.run import Run

__version__ = "0.1.0"

__all__ = ["Run", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is exported
    if name != "Run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lora_qd.runs.run import Run

    return Run
