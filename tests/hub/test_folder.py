"""The folder that is shared: the same each time, loadable, and without a trace."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_qd.errors import InputError
from lora_qd.factors import LowRank
from lora_qd.hub.folder import build_folder, folder_by_name
from lora_qd.hub.licences import LicenceOptions
from lora_qd.hub.manifest import parse_manifest
from lora_qd.runs.experts import ExpertAdapter
from lora_qd.runs.run import Run
from lora_qd.store.adapters import load_adapter
from tests.hub import sharing
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return sharing.finished_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def built(finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "hub"
    build_folder(Run.open(finished), out, sharing.order())
    return out


def content(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def test_two_builds_of_one_run_are_byte_identical(finished, built, tmp_path):
    for name, pictures in (("one", ("a.png", "b.png")), ("two", ("b.png", "a.png"))):
        order = sharing.order(pictures=dict.fromkeys(pictures, PNG))
        build_folder(Run.open(finished), tmp_path / name, order)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one") != content(built)


def test_a_copied_run_builds_the_same_folder(finished, built, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    build_folder(Run.open(tmp_path / "copy"), tmp_path / "hub", sharing.order())
    assert content(tmp_path / "hub") == content(built)


def test_the_manifest_lists_every_file_but_itself_and_the_card(finished, built):
    manifest = parse_manifest((built / "loraqd.json").read_bytes(), source="here")
    paths = {file.path for file in manifest.files}
    assert paths == set(content(built)) - {"README.md", "loraqd.json"}
    assert {"run/run.json", "experts/config.json"} <= paths
    assert manifest.run_id == sharing.RUN_ID
    assert manifest.base.model == sharing.BASE
    assert manifest.base.licence is None


def test_every_served_member_is_a_folder(finished, built):
    run = Run.open(finished)
    manifest = parse_manifest((built / "loraqd.json").read_bytes(), source="here")
    assert set(manifest.adapters) == set(run.results.members)
    assert manifest.adapters["aggregate"] == ""
    for name, folder in manifest.adapters.items():
        adapter = load_adapter(built / folder)
        assert adapter.base == sharing.BASE
        expected = run.materialise(name, rank=run.config.engine.serve_rank)
        for module, update in expected.items():
            got = adapter.task_vector[module]
            dense = update.scaling * update.B @ update.A
            np.testing.assert_allclose(
                got.scaling * got.B @ got.A, dense, atol=0.02 * np.abs(dense).max()
            )


def test_an_adapters_config_names_no_path(built):
    config = json.loads((built / "balanced" / "adapter_config.json").read_text())
    texts = [value for value in config.values() if isinstance(value, str)]
    assert [text for text in texts if "/" in text] == [sharing.BASE]


def test_an_old_folder_is_replaced(finished, built, tmp_path):
    (tmp_path / "hub" / "old").mkdir(parents=True)
    build_folder(Run.open(finished), tmp_path / "hub", sharing.order())
    assert content(tmp_path / "hub") == content(built)
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_names_of_skills_become_plain_folders():
    names = ["aggregate", "balanced", "lm-eval:arc_easy", "lm-eval-arc_easy", "run"]
    assert folder_by_name([*names, "Experts", "../..", "größe", "Run"]) == {
        "aggregate": "",
        "balanced": "balanced",
        "lm-eval:arc_easy": "lm-eval-arc_easy",
        "lm-eval-arc_easy": "lm-eval-arc_easy-2",
        "run": "run-2",
        "Experts": "Experts-2",
        "../..": "member",
        "größe": "gr-e",
        "Run": "Run-3",
    }


def test_a_skill_with_a_colon_is_shared(tmp_path):
    skills = ["lm-eval:arc_easy", "code", "run"]
    run = renamed_run(tmp_path, skills)
    manifest = build_folder(run, tmp_path / "hub", sharing.order())
    folders = ["", "balanced", "lm-eval-arc_easy", "code", "run-2"]
    assert list(manifest.adapters.values()) == folders


def renamed_run(path, skills):
    """Run the synthetic search with other names of skills."""
    experts = dict(zip(skills, synthetic.adapters().values(), strict=True))
    config = synthetic.config(path, skills=skills)
    synthetic.run(config, experts=experts)
    return Run.open(config.run)


def test_licence_files_and_pictures_go_along(finished, tmp_path):
    order = sharing.order(
        repo_id="owner/Llama-3-mine",
        licence=LicenceOptions(licence="llama3", hub_texts={"LICENSE": b"text"}),
        pictures={"code.png": PNG},
    )
    manifest = build_folder(Run.open(finished), tmp_path / "hub", order)
    paths = {file.path for file in manifest.files}
    assert {"LICENSE", "NOTICE", "pictures/code.png"} <= paths
    assert manifest.base.licence == "llama3"


@pytest.mark.parametrize("name", ["../x.png", "a/b.png", "x.jpg", ""])
def test_a_picture_with_another_name_is_refused(finished, tmp_path, name):
    with pytest.raises(ValueError, match="expected the name and bytes of a PNG"):
        build_folder(
            Run.open(finished), tmp_path / "hub", sharing.order(pictures={name: PNG})
        )


def test_an_unfinished_run_is_refused(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 8)
    with pytest.raises(InputError, match="expected a finished run .* loraqd resume"):
        build_folder(Run.open(config.run), tmp_path / "hub", sharing.order())


def test_a_directory_needs_the_bases_name(finished, tmp_path):
    with pytest.raises(
        InputError, match="names the directory .* pass --base-model own"
    ):
        build_folder(
            Run.open(finished), tmp_path / "hub", sharing.order(base_model=None)
        )


@pytest.mark.parametrize(
    "id_",
    ["llama", "a/b/c", "/a/b", "./base", "a/b--c", "a/..", "a b/c", "a/", "a/b.git"],
)
def test_what_is_no_id_is_refused(finished, tmp_path, id_):
    run = Run.open(finished)
    with pytest.raises(InputError, match="expected owner/name for --base-model"):
        build_folder(run, tmp_path / "hub", sharing.order(base_model=id_))
    with pytest.raises(InputError, match="expected owner/name for the repository"):
        build_folder(run, tmp_path / "hub", sharing.order(repo_id=id_))


def test_the_bases_own_repository_is_refused(finished, tmp_path):
    order = sharing.order(repo_id="Somebody/Base-8B")
    with pytest.raises(
        InputError, match="a repository of its own.*choose another name"
    ):
        build_folder(Run.open(finished), tmp_path / "hub", order)


def cached_base(path):
    return path / "models--meta--some-base" / "snapshots" / ("0" * 40)


def test_a_directory_of_the_hubs_cache_says_its_id(tmp_path):
    snapshot = cached_base(tmp_path)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    config = synthetic.config(tmp_path, base=str(snapshot))
    synthetic.run(config)
    run = Run.open(config.run)
    for named in (None, "meta/some-base"):
        manifest = build_folder(run, tmp_path / "hub", sharing.order(base_model=named))
        assert manifest.base.model == "meta/some-base"
    with pytest.raises(
        InputError, match="--base-model meta/some-base, which the run wa"
    ):
        build_folder(run, tmp_path / "hub", sharing.order(base_model="meta/other"))


def test_a_base_of_the_hub_keeps_its_id(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    rewrite(
        tmp_path / "run",
        "UPDATE manifest SET value = '\"hub:123\"' WHERE key = 'base'",
        "UPDATE sessions "
        "SET about = json_set(about, '$.config.base', 'meta/some-base')",
    )
    run = Run.open(tmp_path / "run")
    manifest = build_folder(run, tmp_path / "hub", sharing.order(base_model=None))
    assert manifest.base.model == "meta/some-base"
    assert manifest.base.hash == "hub:123"


def leaking(where, what):
    """Return a packer that lets something slip into the file ``where``."""

    def pack(run, directory, *, base):
        sharing.pack(run, directory, base=base)
        (directory / where).write_text(what(run))

    return pack


@pytest.mark.parametrize(
    "what",
    [
        lambda run: str(run.directory.path),
        lambda run: f'{{"base": "{run.config.base}"}}',
        lambda run: f"experts: {run.config.experts_dir}/code",
    ],
)
def test_a_path_of_the_run_stops_the_build(finished, tmp_path, what):
    order = sharing.order(pack=leaking("run/run.json", what))
    with pytest.raises(InputError, match="run/run.json holds a path of this machine"):
        build_folder(Run.open(finished), tmp_path / "hub", order)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_stops_the_build_and_leaves_the_old_folder(finished, tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "old").touch()
    secret = "hf_" + "A1b2" * 6
    order = sharing.order(pack=leaking("experts/config.json", lambda _: secret))
    with pytest.raises(
        InputError, match="experts/config.json holds a Hugging Face tok"
    ):
        build_folder(Run.open(finished), tmp_path / "hub", order)
    assert list(content(tmp_path)) == ["hub/old"]


RANK = 3
"""Less than the six of the space, so that members are truncated."""


@pytest.fixture
def cached_tiny_base(tiny_base):
    """The tiny base in the Hub client's own cache, as a download leaves it."""
    from huggingface_hub import constants

    repo = Path(constants.HF_HUB_CACHE) / f"models--{sharing.BASE.replace('/', '--')}"
    commit = "c" * 40
    shutil.copytree(tiny_base, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    yield repo / "snapshots" / commit
    shutil.rmtree(repo)


def real_experts():
    """Return three experts of rank 2 for the attention of the tiny base."""
    from tests.tiny_base import HIDDEN, NUM_LAYERS

    rng = np.random.default_rng(1)
    modules = [
        f"model.layers.{layer}.self_attn.{kind}"
        for layer in range(NUM_LAYERS)
        for kind in ("q_proj", "v_proj")
    ]

    def update():
        B = rng.normal(size=(HIDDEN, 2)) / np.sqrt(HIDDEN)
        return LowRank(B, rng.normal(size=(2, HIDDEN)) / np.sqrt(HIDDEN), scaling=8.0)

    return modules, {
        skill: ExpertAdapter({m: update() for m in modules}, 2, f"{i:064x}", None)
        for i, skill in enumerate(synthetic.SKILLS)
    }


def test_peft_loads_root_and_folders_as_the_run_has_them(
    cached_tiny_base, tmp_path, monkeypatch
):
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    modules, experts = real_experts()
    monkeypatch.setattr(synthetic, "MODULES", modules)
    config = synthetic.config(
        tmp_path, base=str(cached_tiny_base), engine__serve_rank=RANK
    )
    engine = config.engine.model_copy(update={"dtype": "float32"})
    config = config.model_copy(update={"engine": engine})
    synthetic.run(config, experts=experts)
    run = Run.open(config.run)
    build_folder(run, tmp_path / "hub", replace(sharing.order(), base_model=None))
    hub, prompt = str(tmp_path / "hub"), torch.tensor([[0, 17, 42, 99, 123, 7]])

    def base():
        return AutoModelForCausalLM.from_pretrained(sharing.BASE, dtype=torch.float32)

    def oracle(name):
        """Return the logits of the base with the dense update, all in float64."""
        model = base().double()
        for module, update in run.materialise(name, rank=RANK).items():
            dense = update.scaling * update.B.astype(float) @ update.A.astype(float)
            model.get_submodule(module).weight.data += torch.from_numpy(dense)
        return model(prompt).logits

    root = peft.AutoPeftModelForCausalLM.from_pretrained(hub, dtype=torch.float32)
    code = peft.PeftModel.from_pretrained(base(), hub, subfolder="code")
    with torch.no_grad():
        plain = base()(prompt).logits
        for model, name in ((root, "aggregate"), (code, "code")):
            got, expected = model(prompt).logits.double(), oracle(name)
            torch.testing.assert_close(got, expected, atol=2e-4, rtol=0)
            assert (got - plain).abs().max() > 0.05
