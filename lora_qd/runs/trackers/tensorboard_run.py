"""A run in TensorBoard: event files, with nothing running behind them."""

from collections.abc import Mapping

from lora_qd.runs.trackers.tracker import TrackedRun


class TensorboardTracker:
    """Writes event files below a directory of the run's name."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed session logged from this step on counts no more.
        self._writer = SummaryWriter(
            str(run.directory / run.name), purge_step=run.first_step
        )
        if run.is_new:
            self._writer.add_hparams(dict(run.hyperparameters), {}, run_name=".")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the values at once, so that a killed run has them."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
