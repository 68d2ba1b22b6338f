"""Throw-away Linux systems: in bubblewrap over an overlay, or in containers."""

from lora_qd.tasks.sandbox.systems.choice import SystemsSettings, open_systems

__all__ = ["SystemsSettings", "open_systems"]
