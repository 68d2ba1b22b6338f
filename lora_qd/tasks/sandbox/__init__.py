"""Runs what a model wrote: no network, no host files, hard limits.

Two profiles. `Sandbox` runs one program and forgets it: a warm interpreter inside
bubblewrap forks every job into namespaces of its own. `systems` are throw-away Linux
systems that live through a conversation. Without a working sandbox everything here
raises ``SandboxError``; nothing ever runs on the host instead.

What is covered and what is not is in ``docs/security.md``.
"""

from lora_qd.tasks.sandbox.job import Job, Limits, Outcome
from lora_qd.tasks.sandbox.pool import Sandbox

__all__ = ["Job", "Limits", "Outcome", "Sandbox"]
