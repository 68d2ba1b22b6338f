"""A run in Weights & Biases: files for ``wandb sync``, unless WANDB_MODE says else."""

import os
from collections.abc import Mapping
from typing import Any

from lora_qd.runs.trackers.tracker import TrackedRun

_PATIENCE_S = 20.0
"""Seconds that the start and the end of an online run may take."""


class WandbTracker:
    """Logs scalars only: no console, code, git, machine or system statistics."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        defaults = {
            "mode": "offline",
            "project": "loraqd",
            "name": run.name,
            "dir": str(run.directory),
        }
        free: dict[str, Any] = {
            key: os.environ.get(f"WANDB_{key.upper()}", value)
            for key, value in defaults.items()
        }
        self._run = wandb.init(
            id=run.id,
            resume="allow",
            config=dict(run.hyperparameters),
            reinit="create_new",  # a run that the user has open stays so
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                finish_timeout=_PATIENCE_S,
                init_timeout=_PATIENCE_S,
                silent=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=0.5,  # what a killed run loses
            ),
            **free,
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand the values to W&B's own process."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until that process has written them."""
        self._run.finish()
