"""Configs: checked, overridable, every field documented."""

from pathlib import Path

import pytest
import yaml

from lora_qd.errors import InputError
from lora_qd.runs.config import RunConfig, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SMALLEST = {"base": "b", "run": "r", "experts_dir": "e", "skills": ["code", "shell"]}


def write(tmp_path, **changes):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(SMALLEST | changes))
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_is_valid_and_starts_with_its_command(path):
    assert load_config(path).skills
    assert path.read_text().startswith("# loraqd ")
    assert f"--config configs/{path.name}" in path.read_text().splitlines()[0]


def test_a_written_config_reads_back_as_itself(tmp_path):
    config = load_config(CONFIGS[0])
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config


def test_every_field_has_a_description():
    def undocumented(model, seen):
        for name, field in model.model_fields.items():
            if not field.description:
                yield f"{model.__name__}.{name}"
            nested = field.annotation
            if hasattr(nested, "model_fields") and nested not in seen:
                yield from undocumented(nested, seen | {nested})

    assert list(undocumented(RunConfig, set())) == []


def test_an_override_changes_a_nested_value(tmp_path):
    config = load_config(write(tmp_path), ["search.children=7", "seed=3"])
    assert config.search.children == 7
    assert config.seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.children", "overrides like search.children=600"),
        ("=5", "overrides like"),
        ("search.childs=5", "search.childs: unknown key"),
        ("search.children=-1", "search.children: .*greater than or equal to 0"),
        ("search.children=many", "search.children: .*valid integer"),
        ("engine.serve_rank=600", "engine.serve_rank: .*less than or equal to 512"),
        ("engine={quantization: nf4, dtype: float32}", "needs a 16-bit dtype"),
        ("engine.price_per_hour=-1", "engine.price_per_hour: .*greater than or equal"),
        ("engine.ahead=-1", "engine.ahead: .*greater than or equal to 0"),
        ("seed.x=1", "'seed' in 'seed.x=1' to be a mapping"),
        ("search.crossover=tie", "search: .*crossover is one of linear, .*'tie'"),
        ("search.crossover=slerp", "search: .*slerp takes parents: 2"),
        ("search.mutation=wild", "search.mutation: .*'multiply', 'relative'"),
        ("engine.dtype=int3", "engine.dtype: "),
        ("seed=[", "a YAML value in"),
    ],
)
def test_a_bad_override_is_named(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, seed=1), [override])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skils": []}, "skils: unknown key"),
        ({"skills": ["code"]}, "skills: .*at least 2 items"),
        ({"skills": ["code", "code"]}, "name a skill twice"),
        ({"retention": ["code"]}, "name a skill twice"),
        (
            {"experts": [{"name": "x", "data": {"file": "f"}}]},
            r"named by skills.*experts \('x',\)",
        ),
        (
            {
                "experts": [{"name": "code", "data": {"file": "f"}}],
                "training": {"quantization": "nf4"},
            },
            "trained on quantization 'nf4' but served on 'none'",
        ),
    ],
)
def test_a_bad_config_names_every_misfit_in_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        load_config(write(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("base: b\n")
    with pytest.raises(InputError, match="skills: Field required.*run: Field required"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "expected YAML in"), ("- 1", "a mapping in .* list"), ("", "NoneType")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a config at .*No such file"):
        load_config(tmp_path / "none.yaml")
