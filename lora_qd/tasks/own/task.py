"""A skill of the user's own: rows, a prompt template and a scorer."""

import hashlib
import time
from collections.abc import Mapping, Sequence

import numpy as np

from lora_qd.errors import InputError
from lora_qd.records import Generate, Message, Request, Sample, Score, Split
from lora_qd.tasks.own.samples import question_of, with_examples
from lora_qd.tasks.own.scorers import Function, Judge, TextScorer
from lora_qd.tasks.own.scorers.function import UserFunction
from lora_qd.tasks.own.scorers.judge import JudgeClient
from lora_qd.tasks.own.scorers.question import Question
from lora_qd.tasks.own.settings import DataSkill
from lora_qd.tasks.published import PublishedSamples, Verdict
from lora_qd.tasks.published.source import read_source
from lora_qd.tasks.sandbox import Sandbox


class OwnTask:
    """A skill over the user's rows; its gold answers can be replayed and trained on."""

    def __init__(self, name: str, skill: DataSkill, sandbox: Sandbox) -> None:
        """Read the rows and fill in every prompt; nothing is executed yet.

        Raises:
            InputError: a row or the skill is wrong.
            MissingExtraError: the data or the scorer needs an extra.
        """
        self.name = name
        self.left_out: Mapping[str, str] = {}
        """Nothing: a row that cannot be used is an error."""
        self._skill = skill
        self._sandbox = sandbox
        scorer = skill.scorer
        self._judge = JudgeClient(scorer) if isinstance(scorer, Judge) else None
        self._function: UserFunction | None = None
        source = read_source(skill.data)
        asked = {row.where: question_of(skill, row) for row in source.rows}
        if isinstance(scorer, TextScorer):
            for place, question in asked.items():
                _check_targets(scorer, place, question)
        samples = {place: question.sample for place, question in asked.items()}
        self._samples = PublishedSamples(samples, skill.data.shares)
        shown = self._examples(list(asked.values()))
        self._questions = {
            q.sample.id: with_examples(q, [s for s in shown if s is not q])
            for q in asked.values()
        }
        self.sha256 = _hash(source.sha256, skill)
        """Of the rows and of what the skill makes of them."""

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples, of all splits and for training."""
        return [self._questions[sample.id].sample for sample in self._samples.all]

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return [self._questions[s.id].sample for s in self._samples.samples(split)]

    def training(self, seed: int, num: int | None) -> Sequence[Sample]:
        """Return ``num`` samples of the training share, or all, drawn by ``seed``.

        Raises:
            InputError: there are fewer.
        """
        samples = self.samples(Split.TRAIN)
        if num is not None and num > len(samples):
            raise InputError(
                f"expected {num} rows of {self.name!r} for training, but its shares "
                f"leave {len(samples)}; lower num_examples, or data.shares of the skill"
            )
        order = np.random.default_rng(seed).permutation(len(samples))
        return [samples[index] for index in order[:num]]

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return what a candidate is asked."""
        return (*sample.before, Message("user", sample.prompt))

    def gold(self, sample: Sample) -> Sequence[str]:
        """Return the gold answer."""
        return [sample.target]

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Ask the candidate and score what it answers.

        Raises:
            InputError: the row, or the user's function, is at fault.
            JudgeError: the judge cannot be reached.
            SandboxError: there is no working sandbox.
        """
        skill = self._skill
        request = Request(tuple(self.opening(sample)), skill.max_tokens, skill.stop)
        (completion,) = await generate([request])
        start = time.monotonic()
        verdict = await self._grade(completion.text, self._questions[sample.id])
        reason = verdict.reason
        if reason and not completion.is_complete:
            reason += f" (cut at {skill.max_tokens} tokens)"
        return Score(
            value=verdict.value,
            reason=reason,
            answer=completion.text,
            num_prompt_tokens=completion.num_prompt_tokens,
            num_tokens=completion.num_tokens,
            seconds=time.monotonic() - start,
        )

    async def close(self) -> None:
        """Close the connections to a judge."""
        if self._judge is not None:
            await self._judge.close()

    async def _grade(self, answer: str, question: Question) -> Verdict:
        scorer = self._skill.scorer
        if not answer.strip():
            return Verdict(0.0, "the answer is empty")
        if isinstance(scorer, TextScorer):
            return scorer.score(answer, question.targets)
        if isinstance(scorer, Function):
            self._function = self._function or scorer.load(self._skill.directory)
            return await scorer.grade(self._function, answer, question)
        if isinstance(scorer, Judge):
            client = self._judge or JudgeClient(scorer)
            return await scorer.grade(client, answer, question)
        return await scorer.grade(self._sandbox, answer, question)

    def _examples(self, questions: Sequence[Question]) -> list[Question]:
        """Return the questions of the training share that all prompts show."""
        num = self._skill.few_shot
        trained = {sample.id for sample in self._samples.samples(Split.TRAIN)}
        kept = [q for q in questions if q.sample.id in trained]
        if num > len(kept):
            raise InputError(
                f"expected {num} rows of {self.name!r} for few_shot, but its shares "
                f"leave {len(kept)} for training; lower few_shot, or data.shares"
            )
        # By their ids, so that a row more at the end changes few prompts.
        return sorted(kept, key=lambda q: hash_of(q.sample.id))[:num]


def hash_of(text: str) -> str:
    """Return the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()


def _check_targets(scorer: TextScorer, place: str, question: Question) -> None:
    for target in question.targets:
        try:
            scorer.check_target(target)
        except InputError as error:
            raise InputError(f"{place}: {error}") from error


def _hash(source: str, skill: DataSkill) -> str:
    told = skill.model_dump_json(exclude={"data", "directory"})
    return hash_of(f"{source}\0{told}")
