"""Where trackers' libraries find themselves: no telemetry, no words, short waits.

What the user's own environment says goes before all this. It is set for the moment of
a call only, so that nothing else that the run starts inherits it.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # MLflow calls its store of plain files old; the new one needs SQLAlchemy.
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that does not answer costs a run this many seconds, once.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_ERROR_REPORTING": "false",
}


@contextmanager
def local() -> Iterator[None]:
    """Set the defaults within the block; leave the environment as it was."""
    before = dict(os.environ)
    os.environ.update({k: v for k, v in _DEFAULTS.items() if k not in before})
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def quiet_and_local() -> Iterator[None]:
    """Do the same, and hush prints and warnings: for imports, openings and ends."""
    with (
        local(),
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _restore(before: dict[str, str]) -> None:
    """Set and delete what differs; libraries leave variables of their own behind."""
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
