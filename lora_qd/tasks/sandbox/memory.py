"""What earlier jobs came to, so that a job seen before is not run again."""

import hashlib
import json
from collections import OrderedDict
from dataclasses import asdict

from lora_qd.tasks.sandbox.job import Job, Limits, Outcome


class OutcomeMemory:
    """The outcomes of the jobs run last; the oldest are forgotten first.

    Candidates of one population write mostly what others wrote before them: of 26,000
    answers in a run of the tiny world, 1,000 were new. An outcome that broke a limit is
    not kept, since the machine's load may be to blame.
    """

    def __init__(self, most: int) -> None:
        """Remember at most ``most`` outcomes; 0 remembers nothing."""
        self._most = most
        self._outcomes: OrderedDict[bytes, Outcome] = OrderedDict()

    def find(self, job: Job, limits: Limits) -> Outcome | None:
        """Return what ``job`` came to under ``limits``, if that is known."""
        key = _key(job, limits)
        if key in self._outcomes:
            self._outcomes.move_to_end(key)
        return self._outcomes.get(key)

    def keep(self, job: Job, limits: Limits, outcome: Outcome) -> None:
        """Remember ``outcome`` unless it broke a limit."""
        if outcome.limit:
            return
        self._outcomes[_key(job, limits)] = outcome
        while len(self._outcomes) > self._most:
            self._outcomes.popitem(last=False)


def _key(job: Job, limits: Limits) -> bytes:
    text = json.dumps([asdict(job), asdict(limits)], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()
