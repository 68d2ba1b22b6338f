"""The sizes of the tiny Llama."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The sizes of the model."""

    vocab_size: int = 1024
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    intermediate: int = 576
    max_length: int = 512
    """Most tokens of question and answer together."""
