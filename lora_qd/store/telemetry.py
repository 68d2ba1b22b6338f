"""No word to anybody of what is installed here. Imports nothing heavy."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Keep what else is installed out of the requests' headers."""
    from huggingface_hub import constants

    was_disabled = constants.HF_HUB_DISABLE_TELEMETRY
    try:
        constants.HF_HUB_DISABLE_TELEMETRY = True
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = was_disabled
