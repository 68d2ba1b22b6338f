"""How training tells its caller about its loss. Imports transformers."""

import math
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from lora_qd.errors import TrainingError

Progress = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the mean loss since the last call."""


class Reporter(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Passes the loss on and stops where it is no number."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._last_step = 0
        self._last_loss = math.nan

    def on_log(
        self,
        args: Any,  # noqa: ANN401, ARG002 - the signature is transformers'
        state: Any,  # noqa: ANN401
        control: Any,  # noqa: ANN401, ARG002
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Report the loss of a training step."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise TrainingError(
                f"expected a finite loss, but got {loss} at step {state.global_step}; "
                "lower learning_rate"
            )
        self._last_step, self._last_loss = state.global_step, loss
        if self._progress is not None:
            self._progress(state.global_step, state.max_steps, loss)

    def on_train_end(
        self,
        args: Any,  # noqa: ANN401, ARG002 - the signature is transformers'
        state: Any,  # noqa: ANN401
        control: Any,  # noqa: ANN401, ARG002
        **_: object,
    ) -> None:
        """Report the last step, where it falls between two logs."""
        if self._progress is not None and self._last_step < state.global_step:
            self._progress(state.global_step, state.max_steps, self._last_loss)
