"""A small folder as it is shared, and how tests push it."""

import json

from lora_qd.hub.manifest import Manifest, SharedBase, listed
from lora_qd.hub.upload import upload

ID = "owner/run"
RUN_ID = "1" * 64


def tensors(value, num=64):
    """Return a safetensors file of ``num`` bytes."""
    entry = {"dtype": "U8", "shape": [num], "data_offsets": [0, num]}
    header = json.dumps({"x": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([value]) * num


def files(seed=1):
    return {
        "adapter_config.json": b'{"peft_type": "LORA"}',
        "adapter_model.safetensors": tensors(seed),
        "code/adapter_config.json": b"{}",
        "code/adapter_model.safetensors": tensors(seed + 1, 3000),
        "run/run.json": b"{}",
        f"run/genomes/{seed}.safetensors": tensors(seed + 2, 500),
        "LICENSE": b"yours",
    }


def folder(path, content=None, run_id=RUN_ID):
    """Write a folder as it is shared, and return it."""
    for name, data in (content or files()).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "README.md").write_text("---\nbase_model: a/base\n---\n# A card\n")
    manifest = Manifest(
        run_id=run_id,
        base=SharedBase(model="a/base", hash="hub:1", quantization="none"),
        adapters={"aggregate": "", "code": "code"},
        files=listed(path),
    )
    manifest.save(path)
    return path


def push(path, **options):
    said = []
    done = upload(path, ID, say=lambda *words: said.append(words), **options)
    return done, said


def content_of(path):
    paths = [each for each in path.rglob("*") if each.is_file()]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in paths}


def without_attributes(repo):
    return {name: c for name, c in repo.main.items() if name != ".gitattributes"}
