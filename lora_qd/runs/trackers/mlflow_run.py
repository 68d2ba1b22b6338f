"""A run in MLflow: plain files, unless MLFLOW_TRACKING_URI names a server."""

import os
import re
import time
from collections.abc import Mapping

from lora_qd.runs.trackers.tracker import TrackedRun

_TAG = "loraqd.run"
"""Holds the run's id, by which it is found again."""
_NUM_PARAMS = 100
"""That MLflow takes at once."""


class MlflowTracker:
    """Logs by a client of its own; the user's active run is not touched."""

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._metric = Metric
        uri = os.environ.get("MLFLOW_TRACKING_URI", run.directory.as_uri())
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "loraqd")
        found = self._client.get_experiment_by_name(name)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(name)
        )
        known = self._client.search_runs(
            [experiment], f"tags.`{_TAG}` = '{run.id}'", max_results=1
        )
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(experiment, run)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the values in one call."""
        now_ms = round(1000 * time.time())
        metrics = [self._metric(_name(n), v, now_ms, step) for n, v in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """Mark the run as ended; it may go on later."""
        self._client.set_terminated(self._id)

    def _create(self, experiment: str, run: TrackedRun) -> str:
        from mlflow.entities import Param

        created = self._client.create_run(
            experiment, run_name=run.name, tags={_TAG: run.id}
        )
        run_id = str(created.info.run_id)
        params = [Param(_name(k), str(v)) for k, v in run.hyperparameters.items()]
        for start in range(0, len(params), _NUM_PARAMS):
            some = params[start : start + _NUM_PARAMS]
            self._client.log_batch(run_id, params=some)
        return run_id


def _name(name: str) -> str:
    """Return ``name`` with what MLflow allows in one: ``humaneval+`` is not."""
    return re.sub(r"[^\w\-./ :]", "_", name)
