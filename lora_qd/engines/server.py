"""What an engine needs of a vLLM server, be it our child or somebody else's."""

from pathlib import Path
from typing import Protocol

import httpx

from lora_qd.engines.server_settings import ServerSettings


class Server(Protocol):
    """A vLLM server that may be lost and come back."""

    settings: ServerSettings
    adapters: Path
    """Where adapters are written for it to read."""

    @property
    def base_name(self) -> str:
        """The model name under which it answers as the bare base."""
        ...

    def start(self) -> None:
        """Make it answer; blocks until it does.

        Raises:
            EngineError: it does not.
        """
        ...

    def stop(self) -> None:
        """End what is left of it, so that ``start`` begins from nothing."""
        ...

    def client(self) -> httpx.AsyncClient:
        """Return a client whose calls go to it; the caller closes it."""
        ...

    def failure(self, fact: str, otherwise: str) -> str:
        """Return the message for a ``fact`` with its remedy, or the ``otherwise``."""
        ...

    @property
    def where(self) -> str:
        """Where to read more, to end a sentence."""
        ...
