"""The JSON scorer: strict JSON, schemas, equality, hostile answers and schemas."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.tasks.own.scorers.json_schema import JsonSchema
from tests.tasks.own.scorers.laws import HOSTILE, INJECTION, value_of, verdict_of

CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
GOLD = '{"name": "Paris", "people": 2100000}'
EQUAL = JsonSchema(kind="json-schema")
FORM = JsonSchema(kind="json-schema", schema=CITY, equal=False)
NAMED = JsonSchema(kind="json-schema", schema=CITY, equal=("name",))
SCORERS = {"equal": EQUAL, "form": FORM, "named": NAMED}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e9, 1e9),
    lambda child: st.lists(child) | st.dictionaries(st.text(), child),
    max_leaves=8,
)


def by(schema, *, equal=False):
    return JsonSchema(kind="json-schema", schema=schema, equal=equal)


def fenced(text):
    return f"Here it is:\n```json\n{text}\n```\nDone."


@pytest.fixture(params=SCORERS)
def scorer(request):
    return SCORERS[request.param]


@pytest.mark.parametrize("answer", [GOLD, f" {GOLD}\n", fenced(GOLD)])
def test_the_target_is_a_right_answer(scorer, answer):
    scorer.check_target(GOLD)
    assert value_of(scorer, answer, '{"name": "Rome"}', GOLD) == 1


@given(JSON)
def test_every_json_equals_itself_however_it_is_written(value):
    target = json.dumps(value)
    EQUAL.check_target(target)
    assert value_of(EQUAL, target, target) == 1
    assert value_of(EQUAL, json.dumps(value, indent=2, sort_keys=True), target) == 1
    assert value_of(EQUAL, fenced(json.dumps(value, ensure_ascii=False)), target) == 1
    assert value_of(EQUAL, json.dumps([value]), target) == 0


@given(answer=st.text(), target=st.text())
@pytest.mark.parametrize("name", SCORERS)
def test_every_answer_has_a_verdict(name, answer, target):
    assert 0 <= verdict_of(SCORERS[name], answer, target, GOLD).value <= 1
    assert 0 <= verdict_of(SCORERS[name], fenced(answer), target, GOLD).value <= 1
    assert 0 <= verdict_of(SCORERS[name], json.dumps({answer: target}), GOLD).value <= 1


@given(answer=JSON)
def test_every_json_has_a_verdict_by_a_schema(answer):
    assert 0 <= verdict_of(FORM, json.dumps(answer), GOLD).value <= 1


@pytest.mark.parametrize("answer", ["", " \n", "\u3000"])
def test_an_empty_answer_scores_nothing(scorer, answer):
    assert value_of(scorer, answer, GOLD) == 0


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_scores_nothing_in_bounded_time(scorer, hostile):
    assert value_of(scorer, HOSTILE[hostile], GOLD) == 0
    assert value_of(scorer, fenced(HOSTILE[hostile]), GOLD) == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"name": "Paris", "name": "Rome"}', "the key 'name' is there twice"),
        ('{"name": NaN}', "NaN is no number"),
        ('{"name": -Infinity}', "-Infinity is no number"),
        ('{"name": 1e999}', "'1e999' overflows"),
        ('{"name": ' + "9" * 5000 + "}", "an integer has 5000 digits"),
        ("{'name': 'Paris'}", "no JSON: Expecting property name"),
        ('{"name": "Paris"} and so on', "no JSON: Extra data"),
        ('{"name": "Par\nis"}', "no JSON: Invalid control character"),
        ('{"name": "Paris",}', "no JSON: "),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ("[" * 50_000 + "]" * 50_000, "nested too deeply"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000, "nested too deeply"),
        ("{}" + INJECTION, "no JSON: Extra data"),
        ("```\n{}\n```", "no JSON: Expecting value"),
        ("```json\n{}\n```\n```json\n{\n```", "no JSON: "),
    ],
)
def test_what_is_no_strict_json_says_why(scorer, answer, reason):
    verdict = verdict_of(scorer, answer, GOLD)
    assert verdict.value == 0
    assert reason in verdict.reason


def test_the_last_block_counts_and_may_be_cut_short():
    assert value_of(EQUAL, "```json\n1\n```\n```JSON\n2\n```", "2") == 1
    assert value_of(EQUAL, "```json\n1\n```\n```python\n2\n```", "1") == 1
    assert value_of(EQUAL, "So:\n  ```json\r\n[1,\n2]", "[1, 2]") == 1
    inside = json.dumps("```json\n3\n```")
    assert value_of(EQUAL, fenced(inside), inside) == 1


@pytest.mark.parametrize(
    ("answer", "target", "value"),
    [
        ("1.0", "1", 1),
        ("true", "1", 0),
        ("[0]", "[false]", 0),
        ('{"a": {"b": true}}', '{"a": {"b": 1}}', 0),
        ('{"b": 1, "a": [2]}', '{"a": [2.0], "b": 1}', 1),
        ("[1, 2]", "[2, 1]", 0),
        ("[]", "{}", 0),
        ('""', "null", 0),
        ('"\\uff11"', '"1"', 0),
        ('"P\u0430ris"', '"Paris"', 0),
        ('"\\u0050aris"', '"Paris"', 1),
        ('"a\\u0000"', '"a"', 0),
        ('"\\ud800"', '"\\ud800"', 1),
    ],
)
def test_equality_is_that_of_json(answer, target, value):
    assert value_of(EQUAL, answer, target) == value


def test_only_the_named_fields_must_be_equal():
    assert value_of(NAMED, '{"name": "Paris", "people": 0}', GOLD) == 1
    assert value_of(NAMED, '{"name": "Rome", "people": 2100000}', GOLD) == 0
    by_name = JsonSchema(kind="json-schema", equal=("name",))
    verdict = verdict_of(by_name, '{"people": 0}', GOLD)
    assert verdict.reason == "the JSON has no field 'name'"
    assert verdict_of(by_name, "[]", GOLD).reason == "the JSON is no object"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"people": 1}', "$: 'name' is a required property"),
        ('{"name": 1}', "$.name: 1 is not of type 'string'"),
        ('{"name": "x", "people": true}', "$.people: True is not of type 'integer'"),
        ('{"name": "x", "\\ud800\\n": 1}', "Additional properties are not allowed"),
        (json.dumps({"name": ["x" * 100_000]}), "$.name: ['xxx"),
    ],
)
@pytest.mark.parametrize("name", ["form", "named"])
def test_a_schema_says_what_it_misses(name, answer, reason):
    verdict = verdict_of(SCORERS[name], answer, GOLD)
    assert verdict.value == 0
    assert reason in verdict.reason


TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
}
BRANCHING = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "oneOf": [
        {"properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
        {"type": "null"},
    ],
}
PATTERN = {"type": "string", "pattern": "^(a|aa)+$"}


@pytest.mark.parametrize(
    ("schema", "answer", "value"),
    [
        (TREE, "[[], [[]]]", 1),
        (TREE, "[[], [1]]", 0),
        (PATTERN, '"aaa"', 1),
        (PATTERN, '"b"', 0),
        ({"uniqueItems": True}, "[1, true, [1], [true], {}]", 1),
        ({"uniqueItems": True}, "[1, 1.0]", 0),
        ({"uniqueItems": False}, "[1, 1]", 1),
        ({"multipleOf": 0.5}, "1" * 300, 1),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "const": 1}, "1", 1),
        ({"properties": {"patternProperties": {"type": "null"}}}, "{}", 1),
        ({"const": {"$ref": "http://x"}}, '{"$ref": "http://x"}', 1),
    ],
)
def test_a_schema_decides(schema, answer, value):
    assert value_of(by(schema), answer, "") == value


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"contains": PATTERN}, json.dumps(["a" * 60 + "!"] * 1000)),
        (BRANCHING, '{"a":' * 60 + "1" + "}" * 60),
    ],
    ids=["backtracking", "branches"],
)
def test_a_check_that_takes_long_is_given_up(schema, answer):
    verdict = verdict_of(by(schema), answer, "")
    assert verdict.reason == "the schema took more than 2 s"


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"uniqueItems": True}, json.dumps([{str(i): 1} for i in range(9000)] * 2)),
        (TREE, json.dumps([[[]]] * 14_000 + [1])),
        ({"$ref": "#"}, "1"),
        ({"enum": [[]] * 100}, "[" + "1," * 50_000 + "1]"),
        ({"type": "object"}, json.dumps([{"a": "b"}] * 10_000)),
    ],
    ids=["unique", "tree", "loop", "enum", "type"],
)
def test_a_long_answer_is_checked_in_bounded_time(schema, answer):
    assert value_of(by(schema), answer, "") == 0


@pytest.mark.parametrize(("depth", "value"), [(64, 1), (65, 0)])
def test_json_may_be_nested_64_levels_deep(depth, value):
    for inside in ("", "1"):
        target = "[" * depth + inside + "]" * depth
        assert value_of(EQUAL, target, target) == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schema": {"type": "text"}}, r"at \$.type 'text' is not valid"),
        ({"schema": {"pattern": "("}}, r"at \$.pattern '\(' is not a 'regex'"),
        ({"schema": {"$ref": "http://x.org/a.json"}}, "references inside the schema"),
        ({"schema": {"allOf": [{"$ref": "file:///etc"}]}}, "inside the schema"),
        ({"schema": {"not": {"$ref": "other.json#/a"}}}, "references inside"),
        ({"schema": {"$ref": "#/$defs/none"}}, "expected the schema to hold"),
        ({"schema": {"patternProperties": {"a": {}}}}, "without patternProperties"),
        ({"schema": {"$schema": "http://x.org/schema"}}, "of json-schema.org"),
        ({"schema": {"not": {"$schema": "http://x"}}}, r"without \$schema in it"),
        ({"schema": {"const": float("nan")}}, "expected a JSON schema, but got"),
        ({"schema": {"properties": {1: {}}}}, "a key is no text"),
        ({"schema": "object"}, "schema"),
        ({"equal": False}, "expected a schema, since equal is false"),
        ({"equal": ()}, "expected names of fields"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        JsonSchema(kind="json-schema", **options)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("equal", "Paris"),
        ("form", "{}"),
        ("named", "[]"),
        ("equal", ""),
        ("equal", "NaN"),
    ],
)
def test_a_target_that_no_answer_could_equal_is_refused(name, target):
    with pytest.raises(InputError, match="expected a target that is JSON"):
        SCORERS[name].check_target(target)


def test_the_key_is_schema_also_when_settings_are_written():
    class Settings(BaseModel):
        scorer: JsonSchema

    written = Settings(scorer=FORM).model_dump(mode="json")
    assert Settings.model_validate(written).scorer == FORM
    assert FORM.model_dump()["schema"] == CITY


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(
        MissingExtraError, match="scoring by a JSON schema needs the extra 'skills'"
    ):
        by({})
