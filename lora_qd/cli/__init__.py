"""The commands: parse, call one function, print. The only layer that prints."""

from lora_qd.cli.main import main

__all__ = ["main"]
