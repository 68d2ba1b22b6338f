"""Runs what a model wrote, in bubblewrap: no network, no host files, hard limits.

Start-up is paid once per worker: a warm interpreter inside bubblewrap forks every job
into namespaces of its own. Without a working bubblewrap everything here raises
``SandboxError``; nothing ever runs on the host instead.

Not covered: attacks on the kernel itself. There is no system-call filter.
"""

from lora_qd.tasks.sandbox.job import Job, Limits, Outcome
from lora_qd.tasks.sandbox.pool import Sandbox

__all__ = ["Job", "Limits", "Outcome", "Sandbox"]
