"""DBBench rows of our own, and how tests talk about them."""

import asyncio
import json

from lora_qd.tasks.agentbench import DatabaseSettings, DatabaseTask
from lora_qd.tasks.agentbench.database_protocol import state_hash
from lora_qd.tasks.published import replay
from lora_qd.tasks.sandbox import Sandbox

ALL = {"search": 1.0, "validation": 0.0, "test": 0.0}
PETS = [["Tom", "cat", "3"], ["Zoë", "dog", "10"], ["Ida", "cat", "7"]]
ANSWER = 'Action: Answer\nFinal Answer: ["x"]'


def row(question, kind, label, *, rows=PETS, **more):
    return {
        "description": question,
        "add_description": "The table is pets.",
        "type": [kind],
        "label": label,
        "table": {
            "table_name": "my pets",
            "table_info": {
                "columns": [
                    {"name": n, "type": "TEXT"} for n in ("name", "kind", "age")
                ],
                "rows": rows,
            },
        },
        **more,
    }


def change(question, kind, statement, after):
    return row(question, kind, [statement], answer_md5=state_hash(after))


ROWS = (
    row("How old is Tom?", "other", ["3"]),
    row("Who are the cats?", "other", ["Tom", "Ida"]),
    change(
        "Add a bird.",
        "INSERT",
        "INSERT INTO `my pets` VALUES ('Bo', 'bird', 1);",
        [*PETS, ["Bo", "bird", "1"]],
    ),
    change(
        "Zoe is 11.",
        "UPDATE",
        "UPDATE `my pets` SET age = 11 WHERE name = 'zoe' AND age > 9",
        [PETS[0], ["Zoë", "dog", "11"], PETS[2]],
    ),
    change(
        "Remove the dogs.",
        "DELETE",
        'DELETE FROM `my pets` WHERE kind = "DOG"',
        [PETS[0], PETS[2]],
    ),
)


def write(path, *rows):
    lines = [each if isinstance(each, str) else json.dumps(each) for each in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def operate(*statements):
    turns = [f"I look.\nAction: Operation\n```sql\n{s}\n```" for s in statements]
    return [*turns, ANSWER]


def play(path, answers_of, **more):
    """Return the task and the score of a conversation on each of its samples."""

    async def main():
        async with Sandbox(2) as sandbox:
            settings = DatabaseSettings(path=str(path), shares=ALL, **more)
            task = DatabaseTask(settings, sandbox)
            jobs = [replay(task, s, answers_of(task, s)) for s in task.all_samples]
            return task, await asyncio.gather(*jobs)

    return asyncio.run(main())


def replies(path, *statements, **more):
    """Return what the first sample's database replies to statements."""
    heard = []

    def listen(text):
        def turn(said):
            heard.append(said)
            return text

        return turn

    def turns(task, sample):
        if sample is not task.all_samples[0]:
            return []
        first, *others = operate(*statements)
        return [first, *map(listen, others)]

    _, scores = play(path, turns, **more)
    return heard, scores[0]
