"""The same scores through us as through the libraries' own commands.

The same adapter on the same server: ours by token ids over its Unix socket, theirs over
a port that is relayed to it.
"""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lora_qd.engines import VllmEngine, VllmServer
from lora_qd.tasks.bridges.inspect_settings import InspectSettings
from lora_qd.tasks.bridges.inspect_task import InspectTask
from lora_qd.tasks.bridges.lm_eval_settings import LmEvalSettings
from lora_qd.tasks.bridges.lm_eval_task import LmEvalTask
from tests.engines.members import NoiseWriter, noise_member
from tests.relay import relayed
from tests.tasks.bridges.lm_eval_tasks import write_tasks
from tests.tiny_base import server_settings

pytestmark = pytest.mark.slow

TASKS = Path(__file__).with_name("inspect_tasks.py")
MEMBER = noise_member(5, size=0.5)
LM_EVAL = ("toy_letters", "toy_choice", "toy_cloze")
METRICS = {"toy_letters": "spread", "toy_choice": "acc_norm", "toy_cloze": "acc"}


@pytest.fixture(scope="module")
def server(tiny_base):
    """A server in float32: near ties fall the same way alone and in a batch."""
    with VllmServer(server_settings(tiny_base, dtype="float32")) as server:
        yield server


@asynccontextmanager
async def loaded(server):
    """Yield an engine that has loaded the member, and the adapter's name there."""
    async with VllmEngine(server, NoiseWriter()) as engine:
        await engine.add(MEMBER)
        yield engine, engine._adapters.of(MEMBER).name


async def scores_of(task, engine):
    async def generate(requests):
        return await engine.generate(MEMBER, requests)

    scores = [task.run(sample, generate) for sample in task.all_samples]
    return [score.value for score in await asyncio.gather(*scores)]


async def command(*arguments, **environment):
    """Run a library's command to its end; the server must go on meanwhile."""
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]


def lm_eval_scores(out, task):
    """Return what lm-eval wrote of each sample, in the order of the documents."""
    [path] = out.glob(f"*/samples_{task}_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row[METRICS[task]] for row in sorted(rows, key=lambda row: row["doc_id"])]


@pytest.mark.parametrize("chat", [False, True], ids=["raw", "chat"])
def test_lm_eval_and_its_own_command_agree_on_every_sample(
    server, tiny_base, tmp_path, chat
):
    directory = write_tasks(tmp_path, num=16)

    async def main():
        async with loaded(server) as (engine, name):
            settings = {"include": directory, "chat": chat}
            ours = {
                task: await scores_of(
                    LmEvalTask(
                        task,
                        LmEvalSettings(task=task, metric=METRICS[task], **settings),
                    ),
                    engine,
                )
                for task in LM_EVAL
            }
            with relayed(server.socket) as url:
                model = {
                    "model": name,
                    "base_url": f"{url}/v1/completions",
                    "tokenizer_backend": "huggingface",
                    "tokenizer": tiny_base,
                    "max_length": server.settings.max_model_len,
                }
                await command(
                    *("lm_eval", "--model", "local-completions", "--model_args"),
                    ",".join(f"{key}={value}" for key, value in model.items()),
                    *("--tasks", ",".join(LM_EVAL), "--include_path", directory),
                    *("--output_path", tmp_path / "out", "--log_samples"),
                    *(("--apply_chat_template",) if chat else ()),
                )
            return ours

    ours = asyncio.run(main())
    theirs = {task: lm_eval_scores(tmp_path / "out", task) for task in LM_EVAL}
    assert ours == theirs
    assert len(set(ours["toy_letters"])) > 2
    assert set(ours["toy_choice"]) == {0.0, 1.0}


def test_inspect_and_its_own_command_agree_on_every_sample(server, tmp_path):
    async def main():
        settings = InspectSettings(
            task=f"{TASKS}@letters", metric="letters", max_tokens=4
        )
        task = InspectTask("letters", settings)
        async with loaded(server) as (engine, name):
            ours = await scores_of(task, engine)
            await task.close()
            with relayed(server.socket) as url:
                await command(
                    *("inspect_ai", "eval", f"{TASKS}@letters"),
                    *("--model", f"openai-api/here/{name}"),
                    *("--model-base-url", f"{url}/v1"),
                    *("--max-tokens", 4, "--temperature", 0, "--display", "none"),
                    *("--log-dir", tmp_path, "--log-format", "json"),
                    HERE_API_KEY="none",
                )
            return ours

    ours = asyncio.run(main())
    [path] = tmp_path.glob("*.json")
    samples = json.loads(path.read_text())["samples"]
    samples.sort(key=lambda sample: int(sample["id"]))
    theirs = [sample["scores"]["spread"]["value"]["letters"] for sample in samples]
    assert ours == pytest.approx(theirs)
    assert len(set(ours)) > 2
