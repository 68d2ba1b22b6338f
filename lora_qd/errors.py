"""The exceptions that loraqd raises on purpose.

::

    LoraQDError
    ├── InputError          what the user wrote or passed is wrong (also a ValueError)
    │   └── PromptTooLongError  prompt and answer do not fit the engine's context
    ├── MissingExtraError   an optional dependency is not installed
    ├── EngineError         an engine failed to start, answer or apply an adapter
    │   └── EngineLostError   it is gone for good; other engines may go on
    ├── JudgeError          a model that scores answers did not, or refused
    ├── SandboxError        the sandbox is missing or broken; never a score
    ├── TrainingError       expert training failed
    └── StoreError          a file or the ledger could not be read or written

A message names the expectation, the fact and the remedy in one line. The CLI
prints it and exits with code 2. A wrong argument inside the library is a plain
``ValueError``.
"""


class LoraQDError(Exception):
    """Base of every error that the CLI shows as one line."""


class InputError(LoraQDError, ValueError):
    """A config, option, file or adapter of the user is wrong."""


class PromptTooLongError(InputError):
    """A conversation has outgrown the context that the engine was started with."""


class MissingExtraError(LoraQDError):
    """A command needs an extra that is not installed."""

    def __init__(self, need: str, extra: str) -> None:
        self._arguments = (need, extra)
        super().__init__(
            f"{need} needs the extra '{extra}', which is not installed; "
            f"run: pip install 'loraqd[{extra}]'"
        )

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Travel from a node of a cluster to the driver."""
        return type(self), self._arguments


class EngineError(LoraQDError):
    """An engine did not start, did not answer or ignored an adapter."""


class EngineLostError(EngineError):
    """An engine is gone for good; what it was asked is unanswered, not wrong."""


class JudgeError(LoraQDError):
    """A model that is to score answers cannot be reached, or refuses; never a score."""


class SandboxError(LoraQDError):
    """The sandbox cannot run, so nothing that a model wrote is executed."""


class TrainingError(LoraQDError):
    """Training an expert failed."""


class StoreError(LoraQDError):
    """A file or the ledger could not be read or written."""
