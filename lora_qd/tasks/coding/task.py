"""The coding skills: a question -> Python, scored by the benchmark's own tests.

Answer and tests run in two processes of one sandbox job; see `sandbox.Job.judge`.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from lora_qd.records import Completion, Generate, Message, Request, Sample, Score, Split
from lora_qd.tasks.coding.extraction import code_of
from lora_qd.tasks.coding.judges import has_passed
from lora_qd.tasks.coding.pass_at_k import pass_at_k
from lora_qd.tasks.coding.problems import humaneval_sample, mbpp_sample
from lora_qd.tasks.coding.settings import CodingSettings
from lora_qd.tasks.published.samples import PublishedSamples
from lora_qd.tasks.published.source import read_source
from lora_qd.tasks.published.task import PublishedTask
from lora_qd.tasks.rows import Row
from lora_qd.tasks.sandbox import Job, Limits, Sandbox

_INSTRUCTION = "Answer with the whole code in one ```python block."
_WALL_PER_CPU_S = 6
"""The wall limit is a backstop: a busy machine must not decide over an answer."""
_SEPARATOR = "\n\n"


def coding_task(name: str, settings: CodingSettings, sandbox: Sandbox) -> PublishedTask:
    """Return the skill ``humaneval``, ``humaneval+``, ``mbpp`` or ``mbpp+``.

    Raises:
        InputError: its source cannot be read, or a row is wrong.
    """
    is_plus = name.endswith("+")
    sample_of = {"humaneval": humaneval_sample, "mbpp": mbpp_sample}[name.rstrip("+")]

    def read(row: Row) -> Sample:
        return sample_of(row, is_plus=is_plus)

    return CodingTask(name, settings, sandbox, read)


class CodingTask:
    """Python functions, judged by tests."""

    left_out: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        settings: CodingSettings,
        sandbox: Sandbox,
        read: Callable[[Row], Sample],
    ) -> None:
        """Read the samples that ``settings`` name.

        Raises:
            InputError: a row is wrong.
        """
        self.name = name
        self._settings = settings
        self._sandbox = sandbox
        source = read_source(settings)
        self.sha256 = source.sha256
        samples = {row.where: read(row) for row in source.rows}
        self._samples = PublishedSamples(samples, settings.shares)
        cpu_s = settings.cpu_s
        self._limits = Limits(cpu_s=2 * cpu_s, wall_s=_WALL_PER_CPU_S * cpu_s)

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples, of all splits."""
        return self._samples.all

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return what a candidate is asked."""
        return (Message("user", f"{sample.prompt}\n\n{_INSTRUCTION}"),)

    def gold(self, sample: Sample) -> Sequence[str]:
        """Return the benchmark's own solution, once per completion."""
        return [f"```python\n{sample.target}\n```"] * self._settings.completions

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Ask the candidate, and have the tests call what it writes.

        The score is pass@k over the completions; with one it is 0 or 1.

        Raises:
            SandboxError: there is no working sandbox.
        """
        completions = await generate(self._requests(sample))
        start = time.monotonic()
        faults = [await self._fault(each, sample) for each in completions]
        num_right = faults.count("")
        return Score(
            value=pass_at_k(len(faults), num_right, self._settings.k),
            reason=next(filter(None, faults), ""),
            answer=_SEPARATOR.join(each.text for each in completions),
            num_prompt_tokens=sum(each.num_prompt_tokens for each in completions),
            num_tokens=sum(each.num_tokens for each in completions),
            seconds=time.monotonic() - start,
        )

    def _requests(self, sample: Sample) -> list[Request]:
        settings, messages = self._settings, tuple(self.opening(sample))
        return [
            Request(
                messages,
                settings.max_tokens,
                temperature=settings.temperature,
                seed=seed,
            )
            for seed in range(settings.completions)
        ]

    async def _fault(self, completion: Completion, sample: Sample) -> str:
        """Return why an answer is wrong, one line; empty if it is right."""
        if not completion.text.strip():
            return "the answer is empty"
        checks = sample.checks
        code = code_of(completion.text, checks["entry_point"], stub=checks["stub"])
        job = Job("python", f"{checks['preamble']}\n{code}", judge=checks["judge"])
        outcome = await self._sandbox.run(job, self._limits)
        if outcome.is_ok and has_passed(outcome.output):
            return ""
        return outcome.reason or "the tests did not come to their end"
