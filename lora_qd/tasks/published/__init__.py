"""Skills of published benchmarks: samples from the user's files or the Hub.

Nothing is bundled. A skill's settings name its source; the source's checksum goes into
the run's manifest.
"""

from lora_qd.tasks.published.conversation import Conversation, Verdict
from lora_qd.tasks.published.samples import PublishedSamples
from lora_qd.tasks.published.source import Shares, SourceSettings
from lora_qd.tasks.published.task import (
    NothingToSayError,
    PublishedTask,
    Turn,
    replay,
)

__all__ = [
    "Conversation",
    "NothingToSayError",
    "PublishedSamples",
    "PublishedTask",
    "Shares",
    "SourceSettings",
    "Turn",
    "Verdict",
    "replay",
]
