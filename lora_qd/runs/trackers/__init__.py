"""What a run says to TensorBoard, W&B, Trackio or MLflow while it goes on.

One module per library, which is imported when a run reports to it. The ledger is the
truth: nothing here is read by a run, and no failure of a library stops or changes one.
"""

from lora_qd.runs.trackers.opening import open_trackers, require_trackers
from lora_qd.runs.trackers.reporting import RunTrackers, open_run_trackers
from lora_qd.runs.trackers.tracker import TrackedRun, Tracker, Trackers
from lora_qd.runs.trackers.training import TrackedTraining, track_training

__all__ = [
    "RunTrackers",
    "TrackedRun",
    "TrackedTraining",
    "Tracker",
    "Trackers",
    "open_run_trackers",
    "open_trackers",
    "require_trackers",
    "track_training",
]
