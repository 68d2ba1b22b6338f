"""What the training of an expert reports: its loss, each expert as a run of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from lora_qd.experts.training import Expert
from lora_qd.runs.config import RunConfig
from lora_qd.runs.trackers.opening import open_trackers
from lora_qd.runs.trackers.tracker import Trackers


@dataclass(slots=True)
class TrackedTraining:
    """The trackers of one expert's training; opened by its first step."""

    config: RunConfig
    skill: str
    say: Callable[[str], None]
    _stack: ExitStack = field(default_factory=ExitStack)
    _trackers: Trackers | None = None

    def step(self, step: int, loss: float) -> None:
        """Report the loss of a step."""
        self._log({"loss": loss}, step)

    def end(self, expert: Expert) -> None:
        """Report the losses on the examples held out, at the last step."""
        if expert.was_trained:
            record = expert.record
            losses = {"before": record.loss_before, "after": record.loss_after}
            self._log({f"loss_{k}": v for k, v in losses.items()}, record.num_steps)

    def close(self) -> None:
        """End the run in all libraries."""
        self._stack.close()

    def _log(self, values: dict[str, float], step: int) -> None:
        if self._trackers is None:
            opening = open_trackers(
                self.config,
                self.config.experts_dir / "trackers",
                self.say,
                name=self.skill,
            )
            self._trackers = self._stack.enter_context(opening).all
        named = {f"train/{self.skill}/{name}": v for name, v in values.items()}
        self._trackers.log(named, step)


@contextmanager
def track_training(
    config: RunConfig, skill: str, say: Callable[[str], None]
) -> Iterator[TrackedTraining]:
    """Report to what ``config`` names while the expert of ``skill`` is trained.

    An expert that is kept leaves nothing; one that is trained again is another run.
    """
    training = TrackedTraining(config, skill, say)
    try:
        yield training
    finally:
        training.close()
