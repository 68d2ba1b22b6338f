"""Toy tasks of Inspect, for the tests of the bridge."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import (
    Score,
    accuracy,
    choice,
    match,
    mean,
    model_graded_qa,
    multi_scorer,
    scorer,
)
from inspect_ai.solver import generate, multiple_choice, solver, system_message

NUMBERS = range(12)


@task
def words(num: int = len(NUMBERS)):
    """The last word of the question, exactly."""
    samples = [Sample(input=f"Say word{n}", target=f"word{n}") for n in range(num)]
    solvers = [system_message("Repeat the last word."), generate()]
    return Task(dataset=samples, solver=solvers, scorer=match("exact"))


@task
def choices():
    """The letter of the right choice."""
    samples = [
        Sample(input=f"Which is {n}?", target="B", choices=[str(n + 1), str(n)])
        for n in NUMBERS
    ]
    return Task(dataset=samples, solver=multiple_choice(), scorer=choice())


@solver
def twice():
    """Ask, then ask whether that is so."""

    async def solve(state, generate):
        state = await generate(state)
        state.messages.append(ChatMessageUser(content="Are you sure?"))
        return await generate(state)

    return solve


@task
def rounds():
    """Two rounds; the second answer counts."""
    samples = [Sample(input=f"Is {n} a number?", target="yes") for n in NUMBERS]
    return Task(dataset=samples, solver=twice(), scorer=match("exact"))


@scorer(metrics={"*": [mean()]})
def spread():
    """Numbers that follow from every letter of the answer."""

    async def score(state, target):
        text = state.output.completion
        value = sum(map(ord, text)) % 7 / 6
        return Score(value={"letters": value, "double": 2.0}, explanation="a\nb")

    return score


@task
def letters():
    """A number that follows from every letter of the answer."""
    samples = [Sample(input=f"What is {n}?", target=str(n)) for n in NUMBERS]
    return Task(dataset=samples, solver=generate(), scorer=spread())


@scorer(metrics=[accuracy()])
def broken():
    """Fail on every answer."""

    async def score(state, target):
        raise ZeroDivisionError("no letters")

    return score


@task
def failing():
    """A scorer that fails."""
    samples = [Sample(input="What?", target="that")]
    return Task(dataset=samples, solver=generate(), scorer=broken())


@task
def local():
    """A sandbox that is none."""
    samples = [Sample(input="What?", target="that")]
    return Task(dataset=samples, solver=generate(), scorer=match(), sandbox="local")


@task
def graded():
    """A scorer that asks the candidate itself."""
    samples = [Sample(input="What?", target="that")]
    return Task(dataset=samples, solver=generate(), scorer=model_graded_qa())


@task
def pictures():
    """A question that is no text."""
    content = [ContentText(text="What is it?"), ContentImage(image="data:,")]
    samples = [Sample(input=[ChatMessageUser(content=content)], target="that")]
    return Task(dataset=samples, solver=generate(), scorer=match())


@task
def unscored():
    """Nothing that scores."""
    samples = [Sample(input="What?", target="that")]
    return Task(dataset=samples, solver=generate())


@task
def cached():
    """Answers that Inspect is told to remember."""
    samples = [Sample(input=f"Say word{n}", target=f"word{n}") for n in NUMBERS]
    return Task(dataset=samples, solver=generate(cache=True), scorer=match("exact"))


@task
def equal():
    """Two samples that are the same, asked three times each."""
    samples = [Sample(input="Say word", target="word") for _ in range(2)]
    return Task(dataset=samples, solver=generate(), scorer=match("exact"), epochs=3)


@task
def penalised():
    """An option of decoding that our engines lack."""
    samples = [Sample(input="What?", target="that")]
    config = GenerateConfig(frequency_penalty=1.0)
    return Task(dataset=samples, solver=generate(), scorer=match(), config=config)


@task
def sampled():
    """Two draws of the same answer."""
    samples = [Sample(input="Say word", target="word")]
    draws = [solver_of_draw(), solver_of_draw()]
    config = GenerateConfig(temperature=0.8)
    return Task(dataset=samples, solver=draws, scorer=match("exact"), config=config)


@solver
def solver_of_draw():
    """Ask the question by itself."""

    async def solve(state, generate):
        state.output = await get_model().generate(state.input)
        return state

    return solve


@scorer(metrics=[accuracy()])
def asking():
    """Ask the candidate whether it is right."""

    async def score(state, target):
        await get_model().generate("Is it?")
        return Score(value=1.0)

    return score


@task
def self_graded(inner: bool = False):
    """A scorer that asks the candidate, which nobody can tell beforehand."""
    samples = [Sample(input="What?", target="that")]
    grader = multi_scorer([asking()], "mean") if inner else asking()
    return Task(dataset=samples, solver=generate(), scorer=grader)
