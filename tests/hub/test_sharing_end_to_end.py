"""A run goes to the hub and comes back: real clients, real vLLM, real PEFT."""

import json
import os
import shutil
import subprocess
import sys

import httpx
import pytest

from lora_qd.engines import VllmServer
from lora_qd.runs.run import Run
from lora_qd.runs.verify import verify
from lora_qd.serving.server import Access, serve_settings
from tests.runs.small import ROOT

ID, BASE_ID = "owner/tiny-run", "owner/tiny-llama"
BASE = ROOT / "adapters/tiny-llama"
LOAD = """
import json, sys
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

repo, base = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)
whole = AutoPeftModelForCausalLM.from_pretrained(repo)
code = PeftModel.from_pretrained(
    AutoModelForCausalLM.from_pretrained(base), repo, subfolder="code"
)

def answer(model, question):
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )
    out = model.generate(**ids, max_new_tokens=24, do_sample=False)
    new = out[0, ids["input_ids"].shape[1]:]
    return tokenizer.decode(new, skip_special_tokens=True)

questions = json.load(sys.stdin)
json.dump([[answer(m, q) for q in questions] for m in (whole, code)], sys.stdout)
"""
QUESTIONS = [
    f"Write the {kind} of {thing}." for kind in ("name", "sum") for thing in "abcdef"
]


@pytest.fixture
def elsewhere(hub, tmp_path):
    """A directory, and the environment, of somebody else's shell."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return place, environment | hub.environment(tmp_path / "hf-home")


def loraqd(place, environment, *arguments, text=None):
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
        cwd=place,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers_of(run, directory, models):
    """Ask a served run's members what PEFT was asked."""
    with VllmServer(serve_settings(run, directory, Access())) as server:
        transport = httpx.HTTPTransport(uds=str(server.socket))
        with httpx.Client(transport=transport, base_url=server.url, timeout=60) as http:

            def ask(model, question):
                order = {
                    "model": model,
                    "messages": [{"role": "user", "content": question}],
                    "temperature": 0,
                    "max_tokens": 24,
                }
                reply = http.post("/v1/chat/completions", json=order).json()
                return reply["choices"][0]["message"]["content"]

            return [[ask(model, q) for q in QUESTIONS] for model in models]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pushed_run_is_pulled_evolved_served_and_loaded(
    hub, elsewhere, finished_run, tmp_path
):
    home = tmp_path / "home"
    shutil.copytree(finished_run[0], home)
    place, environment = elsewhere
    base_files = {path.name: path.read_bytes() for path in BASE.iterdir()}
    hub.add(BASE_ID, base_files | {"README.md": b"---\nlicense: apache-2.0\n---\n"})

    push = ("push", home, ID, "--base-model", BASE_ID)
    printed = loraqd(ROOT, environment, *push)
    assert f"Pushed: {hub.url}/{ID}" in printed
    assert "license: apache-2.0" in hub.repos[ID].main["README.md"].decode()
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, ID, BASE_ID],
        cwd=place,
        env=environment,
        input=json.dumps(QUESTIONS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    by_peft = json.loads(loaded.stdout)

    loraqd(place, environment, "pull", ID, "--run", "run", "--base", BASE)
    pulled = Run.open(place / "run")
    assert not [check for check in verify(place / "run") if check.problems]
    before = Run.open(home).children
    assert pulled.children == before

    loraqd(place, environment, "resume", "run", "--children", "+2")
    evolved = Run.open(place / "run")
    assert len(evolved.children) == len(before) + 2
    assert evolved.children[: len(before)] == before

    by_vllm = answers_of(pulled, tmp_path / "named", ("aggregate", "code"))
    for ours, theirs in zip(by_vllm, by_peft, strict=True):
        equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
        assert equal >= len(QUESTIONS) - 2  # bfloat16 and float32: a near tie may flip
    assert by_peft[0] != by_peft[1]

    commits = hub.repos[ID].num_commits
    loraqd(place, environment, "push", "run", ID, "--base-model", BASE_ID)
    assert hub.repos[ID].num_commits == commits + 1
