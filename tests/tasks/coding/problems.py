"""Problems of our own in the published formats, and how tests score answers."""

import asyncio
import json

from lora_qd.tasks.coding import CodingSettings, coding_task
from lora_qd.tasks.published import replay
from lora_qd.tasks.sandbox import Sandbox

ALL = {"search": 1.0, "validation": 0.0, "test": 0.0}

HUMANEVAL = {
    "task_id": "Own/0",
    "prompt": (
        "import math\n\n\ndef half(x):\n    return x / 2\n\n\n"
        'def halves(xs):\n    """Return the half of each number."""\n'
    ),
    "entry_point": "halves",
    "canonical_solution": "    return [half(x) for x in xs]\n",
    "test": (
        "def check(candidate):\n"
        "    assert candidate([2, 4]) == [1, 2]\n"
        "    assert candidate([]) == []\n"
        "    assert math.isclose(sum(candidate([1, 3])), half(4))\n"
    ),
}
HUMANEVAL_PLUS = HUMANEVAL | {
    "base_input": [[[2, 4]], [[]]],
    "plus_input": [[[1, 3]], [[0.1, 0.2]]],
    "atol": 0,
    "contract": "",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function that adds two numbers.",
    "code": "def add(a, b):\n    return a + b\n",
    "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"],
    "challenge_test_list": [],
}
MBPP_CLASS = {
    "task_id": 8,
    "text": "Write a class for a tree of numbers and a function for its sum.",
    "code": (
        "class Node:\n    def __init__(self, x):\n"
        "        self.x, self.left = x, None\n\n"
        "def total(n):\n    return n.x + total(n.left) if n else 0\n"
    ),
    "test_setup_code": "root = Node(1)\nroot.left = Node(2)",
    "test_list": ["assert total(root) == 3", "assert root.left.x == 2"],
    "challenge_test_list": [],
}
MBPP_SANITIZED = {
    "source_file": "own",
    "task_id": 9,
    "prompt": "Write a function that returns the square root.",
    "code": "import math\ndef root(x):\n    return math.sqrt(x)",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(root(2), math.sqrt(2))"],
}
MBPP_PLUS = {
    "task_id": "Mbpp/2",
    "prompt": "Return what two tuples share.",
    "entry_point": "similar_elements",
    "canonical_solution": "def similar_elements(a, b): return tuple(set(a) & set(b))",
    "base_input": [[[3, 4], [4, 3]]],
    "plus_input": [[[1], [2]]],
    "atol": 0,
    "assertion": "assert set(similar_elements((1,), (1,))) == {1}",
}
PLUS_ON_THE_HUB = {
    "task_id": 10,
    "prompt": "Write a function that doubles.",
    "code": "def twice(x):\n    return 2 * x",
    "source_file": "own",
    "test_imports": [],
    "test_list": ["assert twice(2) == 4"],
    "test": (
        "import numpy as np\n"
        "def assertion(out, exp, atol):\n"
        "    assert out == exp or np.allclose(out, exp, rtol=1e-07, atol=atol)\n"
        "for inp, exp in zip([[2], [0.5]], [4, 1.0]):\n"
        "    assertion(twice(*inp), exp, 0)\n"
    ),
}


def write(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def settings(path, **more):
    return CodingSettings(path=str(path), shares=ALL, **more)


def score(name, path, *answers, **more):
    """Return the scores of answers to the first sample, one worker for all of them."""

    async def main():
        async with Sandbox(1) as sandbox:
            task = coding_task(name, settings(path, **more), sandbox)
            sample = task.all_samples[0]
            return [await replay(task, sample, [answer]) for answer in answers]

    return asyncio.run(main())


def replay_all(name, path, answers_of):
    """Return the samples and the score of an answer to each."""

    async def main():
        async with Sandbox(2) as sandbox:
            task = coding_task(name, settings(path), sandbox)
            jobs = [replay(task, s, answers_of(task, s)) for s in task.all_samples]
            return task.all_samples, await asyncio.gather(*jobs)

    return asyncio.run(main())
