"""Tasks and engines whose every step can be watched."""

import asyncio
import random

from lora_qd.engines import FakeEngine
from lora_qd.errors import EngineLostError
from lora_qd.records import Member, Message, Request, Sample, Score, Swap


def member(name):
    return Member(name, {})


class WatchedEngine(FakeEngine):
    """Keeps a diary; takes time to load and to generate."""

    def __init__(self, *, load_s=0.0, generate_s=0.0, jitter=None, answers=None):
        super().__init__(answers or (lambda member, request: "yes"))
        self.load_s = load_s
        self.generate_s = generate_s
        self.rng = None if jitter is None else random.Random(jitter)
        self.diary = []
        self.generating = {}
        self.most_generating = 0
        self.is_lost = False

    async def add(self, member):
        await self.spend(self.load_s)
        self.diary.append(("loaded", member.id))
        await super().add(member)
        return Swap(self.load_s / 4, self.load_s / 2)

    async def generate(self, member, requests):
        name = member.id if member else "base"
        self.diary.append(("asked", name))
        self.generating[name] = self.generating.get(name, 0) + 1
        self.most_generating = max(self.most_generating, len(self.generating))
        try:
            await self.spend(self.generate_s)
            return await super().generate(member, requests)
        finally:
            self.generating[name] -= 1
            if not self.generating[name]:
                del self.generating[name]
            self.diary.append(("answered", name))

    async def spend(self, seconds):
        if self.is_lost:
            raise EngineLostError("the toy engine is lost")
        if self.rng is not None:
            seconds *= self.rng.uniform(0.2, 3.0)
        await asyncio.sleep(seconds)
        if self.is_lost:
            raise EngineLostError("the toy engine is lost")


class ToyTask:
    """Asks ``rounds`` times; scoring each answer takes a while."""

    def __init__(self, name="toy", *, num=4, rounds=1, score_s=0.0, judge=None):
        self.name = name
        self.num = num
        self.rounds = rounds
        self.score_s = score_s
        self.judge = judge or (lambda sample, text: 1.0)
        self.num_scoring = 0

    def samples(self, split):
        return [Sample(f"{self.name}-{split}-{n}", "?", "yes") for n in range(self.num)]

    async def run(self, sample, generate):
        for turn in range(self.rounds):
            asked = Request((Message("user", f"{sample.id} {turn}"),), 8)
            [completion] = await generate([asked])
            self.num_scoring += 1
            await asyncio.sleep(self.score_s)
            self.num_scoring -= 1
        value = self.judge(sample, completion.text)
        return Score(value, num_prompt_tokens=2, num_tokens=1)
