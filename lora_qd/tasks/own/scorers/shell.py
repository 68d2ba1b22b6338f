"""Shell answers, run in the sandbox beside the gold command on the same files."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.code_block import code_in
from lora_qd.tasks.own.scorers.question import Question
from lora_qd.tasks.published import Verdict
from lora_qd.tasks.published.source import Strict
from lora_qd.tasks.sandbox import Job, Outcome, Sandbox
from lora_qd.tasks.sandbox.job import Limits


class Shell(Strict):
    """A bash command, whose output and files must be those of the gold answer.

    Each answer gets a fresh directory.
    """

    kind: Literal["shell"]
    """This scorer."""
    files: dict[str, str | None] = Field(default_factory=dict)
    """Text by path in the directory; null makes a directory."""
    files_field: str | None = None
    """The field of the row with more files, a mapping like `files`."""
    compare: tuple[Literal["output", "files"], ...] = ("output", "files")
    """What must be equal."""
    cpu_s: int = Field(default=2, ge=1)
    """Seconds of processor time for one command."""

    async def grade(self, sandbox: Sandbox, answer: str, question: Question) -> Verdict:
        """Run the answer and each target; what one of them does must be equal.

        Raises:
            InputError: the row's files are none, or the gold command fails.
            SandboxError: there is no working sandbox.
        """
        files = self._files(question)
        # The gold answers first: files that break them are nobody's wrong answer.
        golden = [
            await self._gold(sandbox, files, question, t) for t in question.targets
        ]
        said = await self._run(sandbox, files, answer)
        if not said.is_ok:
            return Verdict(0.0, said.reason or "the command failed")
        verdicts = [self._compare(said, gold) for gold in golden]
        return max(verdicts, key=lambda verdict: verdict.value)

    async def _gold(
        self,
        sandbox: Sandbox,
        files: Mapping[str, str | None],
        question: Question,
        target: str,
    ) -> Outcome:
        outcome = await self._run(sandbox, files, target)
        if not outcome.is_ok:
            raise InputError(
                f"{question.row.where}: expected the gold command to run, but got: "
                f"{outcome.reason}; repair the answer or the files"
            )
        return outcome

    async def _run(
        self, sandbox: Sandbox, files: Mapping[str, str | None], command: str
    ) -> Outcome:
        code = code_in(command, ("bash", "sh", "shell"))
        limits = Limits(cpu_s=self.cpu_s, wall_s=3 * self.cpu_s)
        return await sandbox.run(Job("bash", code, files, collect_tree=True), limits)

    def _files(self, question: Question) -> dict[str, str | None]:
        own = question.row.value(self.files_field) if self.files_field else {}
        where = question.row.where
        if not isinstance(own, dict) or not all(
            isinstance(path, str) and isinstance(text, str | None)
            for path, text in own.items()
        ):
            raise InputError(
                f"{where}: expected text by path in {self.files_field!r}, but got "
                f"{str(own)[:80]}; repair the row"
            )
        files = {**self.files, **own}
        try:
            Job("bash", "", files)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        return files

    def _compare(self, said: Outcome, gold: Outcome) -> Verdict:
        if "output" in self.compare and said.output.rstrip() != gold.output.rstrip():
            fact = f"printed {said.output!r} instead of {gold.output!r}"
            return Verdict(0.0, fact[:200])
        if "files" in self.compare and dict(said.files) != dict(gold.files):
            return Verdict(0.0, "the files are not as they should be afterwards")
        return Verdict(1.0)
