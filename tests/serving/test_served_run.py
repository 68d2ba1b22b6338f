"""A run behind real vLLM: named members, members on demand, and who is refused."""

import asyncio
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from lora_qd.engines import VllmServer
from lora_qd.engines.fake import FakeEngine
from lora_qd.evaluation import Evaluator
from lora_qd.records import Split
from lora_qd.runs.cells import cell_name
from lora_qd.runs.config import load_config
from lora_qd.runs.evolve import Watcher, evolve
from lora_qd.runs.experts import load_experts
from lora_qd.runs.run import Run
from lora_qd.runs.session import Session
from lora_qd.serving.server import Access, serve_settings
from lora_qd.serving.shelf import GRACE_S
from lora_qd.store.run_directory import RunDirectory
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks
from tests.runs import synthetic
from tests.runs.small import ROOT, SMALL

KEY = "a key of the tests"
NUM_MEMBERS = 220


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A finished run of many members on the shipped base, scored without a model."""
    path = tmp_path_factory.mktemp("many") / "run"
    changes = [o for o in SMALL if not o.startswith(("search.", "samples."))]
    config = load_config(
        ROOT / "configs/tiny.yaml",
        [*changes, f"run={path}", f"search.children={NUM_MEMBERS}", "search.batch=4"],
    )
    config = config.model_copy(
        update={
            "base": str(ROOT / config.base),
            "experts_dir": ROOT / config.experts_dir,
        }
    )

    def answer(member, request):
        seed = request.messages[-1].content.encode()
        for core in member.cores.values() if member else ():
            seed += np.float32(core[:2, :2]).tobytes()
        return repr(int(hashlib.sha256(seed).hexdigest()[:4], 16) / 0xFFFF)

    @asynccontextmanager
    async def opened(config, span, log):
        tasks = {n: synthetic.CoresTask(n) for n in config.all_skills}
        evaluator = Evaluator([FakeEngine(answer)], tasks, in_flight=4)
        yield Session(span.space, span.experts, tasks, evaluator)

    watcher = Watcher(synthetic.nobody, synthetic.nobody)
    directory = RunDirectory(path)
    with directory.lock():
        asyncio.run(evolve(config, load_experts(config), directory, watcher, opened))
    return Run.open(path)


@pytest.fixture
def small(finished_run):
    """A finished run on real vLLM."""
    return finished_run[0]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def served(run, port):
    """Run ``loraqd serve`` and yield what it printed."""
    process = subprocess.Popen(
        [sys.executable, "cli.py", "serve", str(run), "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"LORAQD_API_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Stop with Ctrl-C" in line:
            break
    else:
        raise AssertionError(f"the server ended: {lines}")
    try:
        yield "".join(lines)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


def ask(client, model, prompt):
    reply = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        temperature=0,
        max_tokens=40,
    )
    return reply.choices[0].message.content


@pytest.mark.slow
def test_members_answer_the_openai_client_correctly_and_differently(small):
    from openai import AuthenticationError, NotFoundError, OpenAI

    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    with served(small, port) as printed:
        client = OpenAI(base_url=url, api_key=KEY)
        names = {model.id for model in client.models.list()}
        assert {"aggregate", "balanced", "code", "database", "shell"} <= names
        samples = tiny_tasks(Sandbox())["shell"].samples(Split.TEST)[:12]
        cell = re.search(r"such as (code\[[0-9,]+\])", printed)[1]
        named = ("base", "code", "database", "shell", "aggregate")
        answers = {
            name: [ask(client, name, sample.prompt) for sample in samples]
            for name in (*named, cell, "expert-shell")
        }
        right = [a == s.target for a, s in zip(answers["shell"], samples, strict=True)]
        assert sum(right) >= 6
        assert len({tuple(answers[name]) for name in named}) == 5
        run = Run.open(small)
        same = [name for name in named[1:] if run.id_of(name) == run.id_of(cell)]
        assert all(answers[name] == answers[cell] for name in same)
        for nobody in ("nobody", "../../etc", "code[14,14]"):
            with pytest.raises(NotFoundError, match="expected a"):
                ask(client, nobody, "hello")
        with pytest.raises(AuthenticationError):
            OpenAI(base_url=url, api_key="wrong").models.list()
        check_routes(f"http://127.0.0.1:{port}")
        check_snippets(printed)
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens any more


def check_routes(url):
    """Nobody makes it load a path, with a key or without."""
    order = {"lora_name": "x", "lora_path": str(ROOT), "name": "x", "src": str(ROOT)}
    for headers in ({}, {"Authorization": f"Bearer {KEY}"}):
        with httpx.Client(base_url=url, headers=headers) as http:
            for path in ("load_lora_adapter", "unload_lora_adapter"):
                for way in ("/v1/", "/v1//", "//v1/", "/v1/./", "/v1%2F"):
                    assert http.post(f"{way}{path}", json=order).status_code == 404
            assert http.post("/adapters", json=order).status_code == 404
            assert http.delete("/adapters/code").status_code == 404
            assert http.post("/invocations", json=order).status_code == 404
            assert http.options("/v1/chat/completions").status_code == 404
    assert httpx.post(f"{url}/tokenize", json={}).status_code == 401


def check_snippets(printed):
    """What was printed works as it stands."""
    curl = next(line for line in printed.splitlines() if line.startswith("curl "))
    python = printed[printed.index("import os") : printed.index("Stop with")]
    commands = (["bash", "-c", curl], [sys.executable, "-c", python])
    environment = os.environ | {"LORAQD_API_KEY": KEY}
    outputs = [
        subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for command in commands
    ]
    content = json.loads(outputs[0])["choices"][0]["message"]["content"]
    assert outputs[1].rstrip("\n") == content.rstrip("\n")


def tree_kilobytes(pid):
    """Return the resident memory of a process group, shared pages counted once."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            group = int(stat.read_text().rpartition(")")[2].split()[2])
            if group == pid:
                rollup = (stat.parent / "smaps_rollup").read_text()
                total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])
        except (OSError, TypeError):
            continue
    return total


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_members_are_served_in_one_life_with_memory_flat(
    many, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    names = [row.member for row in many.children[:NUM_MEMBERS]]
    cells = [
        cell_name(archive, elite.index)
        for archive in many.archives.values()
        for elite in archive.elites[:5]
    ]
    settings = serve_settings(many, tmp_path, Access())
    memory, files = [], []
    with VllmServer(settings) as server:
        transport = httpx.HTTPTransport(uds=str(server.socket))
        with httpx.Client(transport=transport, base_url=server.url, timeout=60) as http:

            def answer(model):
                order = {"model": model, "prompt": "Write", "max_tokens": 4}
                order["temperature"] = 0
                return http.post("/v1/completions", json=order)

            texts = {}
            for number, name in enumerate([*names, *cells, *names[:20]]):
                reply = answer(name)
                assert reply.status_code == 200, reply.text
                text = reply.json()["choices"][0]["text"]
                assert texts.setdefault(name, text) == text  # also after it came back
                if number % 20 == 19:
                    memory.append(tree_kilobytes(server.pid))
                    files.append(len(list(server.adapters.iterdir())))
            for nobody in ("../../etc", "nobody", "code[99,0]", "x" * 300):
                refused = answer(nobody)
                assert refused.status_code == 404
                assert "expected" in refused.json()["error"]["message"]
            time.sleep(GRACE_S)
            answer(names[0])
            time.sleep(1)  # it is answered first, then others are forgotten
            files.append(len(list(server.adapters.iterdir())))
    assert files[-1] <= 24 + 1
    # After the first sixty everything that grows with use has grown.
    assert max(memory[3:]) - memory[2] < 40_000


def tamper(run, member):
    path = run.lineage.path(member)
    if path.is_file():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))


@pytest.mark.slow
def test_a_tampered_member_is_refused_with_the_reason(many, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    import shutil

    copy = shutil.copytree(many.directory.path, tmp_path / "copy")
    run = Run.open(copy)
    elites = sorted(run.elite_ids - set(run.results.members.values()))
    elite = next(e for e in elites if run.lineage.path(e).is_file())
    tamper(run, elite)
    settings = serve_settings(run, tmp_path / "named", Access())
    with VllmServer(settings) as server:
        transport = httpx.HTTPTransport(uds=str(server.socket))
        with httpx.Client(transport=transport, base_url=server.url, timeout=60) as http:
            order = {"model": elite, "prompt": "Write", "max_tokens": 4}
            refused = http.post("/v1/completions", json=order)
            assert refused.status_code == 404
            assert "does not have that hash" in refused.json()["error"]["message"]
            order["model"] = "balanced"
            assert http.post("/v1/completions", json=order).status_code == 200


@pytest.mark.slow
def test_the_printed_line_serves_without_loraqd(small, tmp_path):
    done = subprocess.run(
        [sys.executable, "cli.py", "serve", str(small), "--print"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    vllm, serve, model, *rest = shlex.split(done.stdout.splitlines()[-1])
    assert (vllm, serve) == ("vllm", "serve")
    run = Run.open(small)
    ours = serve_settings(run, tmp_path / "named", Access())
    variables = ours.environment(is_cpu=True)
    for name in ("LORAQD_SERVE_RUN", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        variables.pop(name)
    port = free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model, *rest),
        *("--host=127.0.0.1", f"--port={port}", "--enforce-eager"),
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            transport = httpx.HTTPTransport(retries=3)
            with httpx.Client(base_url=url, transport=transport, timeout=60) as http:
                wait_for(http, process)
                models = {m["id"] for m in http.get("/v1/models").json()["data"]}
                assert models >= {"aggregate", "balanced", "code", "database", "shell"}
                order = {"model": "code", "prompt": "Write", "max_tokens": 4}
                assert http.post("/v1/completions", json=order).status_code == 200
        finally:
            process.terminate()
            process.wait(60)


def wait_for(http, process):
    for _ in range(600):
        assert process.poll() is None
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("the server is silent")


@pytest.mark.slow
def test_a_chat_through_a_pipe(small):
    done = subprocess.run(
        [
            *(sys.executable, "cli.py", "chat", str(small)),
            *("--member", "code", "--member", "shell", "--max-tokens", "24"),
        ],
        input="Count the files in /data.\n/clear\n\nCount the files in /data.\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["code", "shell"] * 2
    assert lines[:2] == lines[2:]
    assert lines[0].removeprefix("code") != lines[1].removeprefix("shell")


def test_a_taken_port_is_one_line(many):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "cli.py", "serve", str(many.directory.path)),
                *("--port", str(port)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert f"expected port {port} of 127.0.0.1 to be free" in done.stderr


def test_a_key_is_on_no_command_line(many, tmp_path):
    settings = serve_settings(many, tmp_path, Access(8000, KEY))
    assert KEY not in " ".join(settings.command(Path("s"), is_cpu=True))
    assert settings.environment(is_cpu=True)["VLLM_API_KEY"] == KEY


def test_routes_that_load_are_mounted_behind_the_guard_only(many, tmp_path):
    from dataclasses import replace

    settings = serve_settings(many, tmp_path, Access(8000))
    command = settings.command(Path("s"), is_cpu=True)
    variable = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
    assert "--middleware=lora_qd.serving.guard.Guard" in command
    assert settings.environment(is_cpu=True)[variable] == "1"
    unguarded = replace(settings, guard=None)
    assert variable not in unguarded.environment(is_cpu=True)
