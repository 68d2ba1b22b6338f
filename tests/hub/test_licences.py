"""Which licence a base has, what it asks, and what goes along."""

import json

import pytest

from lora_qd.errors import InputError
from lora_qd.hub.identity import Base
from lora_qd.hub.licence_table import LICENCES, licence_of_config, licence_of_name
from lora_qd.hub.licences import LicenceOptions, terms_of

TEXT = b"A licence.\n"
NOTICES = {
    "llama2": "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) "
    "Meta Platforms, Inc. All Rights Reserved.",
    "llama3": "Meta Llama 3 is licensed under the Meta Llama 3 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved.",
    "llama3.1": "Llama 3.1 is licensed under the Llama 3.1 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved.",
    "llama3.2": "Llama 3.2 is licensed under the Llama 3.2 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved.",
    "llama3.3": "Llama 3.3 is licensed under the Llama 3.3 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved.",
    "llama4": "Llama 4 is licensed under the Llama 4 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved.",
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms",
}


def base(directory=None, model="somebody/model"):
    return Base(model, "hub:1", directory)


def model_directory(path, card=None, config=None, **texts):
    """Write what a base's directory holds beside its weights."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config or {}))
    if card is not None:
        (path / "README.md").write_text(f"---\n{card}\n---\n\n# A model\n")
    for name, text in texts.items():
        (path / name.replace("_txt", ".txt")).write_text(text)
    return path


@pytest.mark.parametrize("id_", NOTICES)
def test_each_licence_with_duties_brings_its_notice_and_its_text(id_):
    options = LicenceOptions(licence=id_, hub_texts={"LICENSE.txt": TEXT})
    terms = terms_of(base(), f"owner/{LICENCES[id_].example or 'x'}-mine", options)
    assert terms.licence.id == id_
    assert terms.files["LICENSE"] == TEXT
    assert terms.files["NOTICE"].decode().splitlines()[0] == NOTICES[id_]


@pytest.mark.parametrize("id_", NOTICES)
def test_without_a_copy_of_the_licence_its_duty_is_named(id_):
    name = f"owner/{LICENCES[id_].example or 'x'}-mine"
    expected = f"expected a copy of the {LICENCES[id_].name}.*pass --licence-file"
    with pytest.raises(InputError, match=expected):
        terms_of(base(), name, LicenceOptions(licence=id_))


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("llama3", "Llama-3-mine"),
        ("llama3", "llama-3-mine"),
        ("llama3", "Llama3_mine"),
        ("llama3.1", "Llama-mine"),
        ("llama3.2", "llama3"),
        ("llama4", "LLAMA-4-mine"),
        ("llama2", "anything"),
        ("gemma", "anything"),
        ("mit", "anything"),
    ],
)
def test_a_name_that_the_licence_asks_for_is_taken(id_, name):
    options = LicenceOptions(licence=id_, hub_texts={"LICENSE": TEXT})
    assert terms_of(base(), f"owner/{name}", options).licence.id == id_


@pytest.mark.parametrize(
    ("id_", "name", "example"),
    [
        ("llama3", "mine", "owner/Llama-3-mine"),
        ("llama3", "Llama-mine", "owner/Llama-3-Llama-mine"),
        ("llama3", "my-Llama-3", "owner/Llama-3-my-Llama-3"),
        ("llama3", "Llama-30b", "owner/Llama-3-Llama-30b"),
        ("llama3.1", "mine", "owner/Llama-3.1-mine"),
        ("llama4", "my-llama", "owner/Llama-4-my-llama"),
    ],
)
def test_another_name_is_refused_with_one_that_fits(id_, name, example):
    options = LicenceOptions(licence=id_, hub_texts={"LICENSE": TEXT})
    with pytest.raises(InputError, match=f"as the .*License.*a name like {example}$"):
        terms_of(base(), f"owner/{name}", options)
    assert terms_of(base(), example, options).licence.id == id_


def test_whoever_knows_best_is_believed(tmp_path):
    model = "meta-llama/Llama-3.1-8B"
    here = base(model_directory(tmp_path / "a", "license: mit"), model)
    options = LicenceOptions(licence="apache-2.0", hub_licence="cc-by-4.0")
    terms = terms_of(here, "o/x", options)
    assert (terms.licence.id, terms.source) == (
        "apache-2.0",
        "whoever shared this says",
    )
    terms = terms_of(here, "o/x", LicenceOptions(hub_licence="cc-by-4.0"))
    assert (terms.licence.id, terms.source) == ("mit", "the base's model card says")
    options = LicenceOptions(hub_licence="cc-by-4.0")
    assert terms_of(base(None, model), "o/x", options).licence.id == "cc-by-4.0"
    with pytest.raises(
        InputError, match="begins with Llama-3.1, as the Llama 3.1 Comm"
    ):
        terms_of(base(None, model), "o/x", LicenceOptions())


def test_a_licence_that_the_hub_does_not_know_is_read_by_its_name(tmp_path):
    card = "license: other\nlicense_name: llama4"
    here = base(model_directory(tmp_path / "a", card, LICENSE="text"))
    assert terms_of(here, "o/Llama-x", LicenceOptions()).licence.id == "llama4"


@pytest.mark.parametrize("card", ["license: other", "license: [", "- a", "tags: [x]"])
def test_a_card_that_says_nothing_is_passed_over(tmp_path, card):
    here = base(model_directory(tmp_path / "a", card))
    terms = terms_of(here, "o/x", LicenceOptions(hub_licence="mit"))
    assert terms.source == "the base's page on the Hub says"


def test_a_licence_that_nobody_names_is_unknown():
    terms = terms_of(base(), "o/x", LicenceOptions(hub_licence="other"))
    assert terms.licence is None
    assert terms.files == {}


@pytest.mark.parametrize(
    ("model", "licence"),
    [
        ("meta-llama/Llama-2-7b-hf", "llama2"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Meta-Llama-3.1-8B", "llama3.1"),
        ("meta-llama/Llama-3.2-1B", "llama3.2"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3.3"),
        ("meta-llama/Llama-4-Scout-17B-16E", "llama4"),
        ("google/gemma-2-2b-it", "gemma"),
        ("google/gemma-3-270m", "gemma"),
        ("google/gemma-4-e4b", None),
        ("TinyLlama/TinyLlama-1.1B", None),
        ("princeton-nlp/Sheared-LLaMA-2.7B", None),
        ("openlm-research/open_llama_3b", None),
        ("Qwen/Qwen3-8B", None),
    ],
)
def test_names_that_owners_give_tell_the_licence(model, licence):
    assert licence_of_name(model) == licence


@pytest.mark.parametrize(
    ("config", "licence"),
    [
        ({"model_type": "llama", "vocab_size": 128256}, "llama3"),
        (
            {
                "model_type": "llama",
                "vocab_size": 128256,
                "rope_scaling": {"factor": 8.0},
            },
            "llama3.1",
        ),
        (
            {
                "model_type": "llama",
                "vocab_size": 128256,
                "rope_parameters": {"factor": 32.0},
            },
            "llama3.2",
        ),
        ({"model_type": "llama4"}, "llama4"),
        ({"model_type": "gemma2"}, "gemma"),
        ({"model_type": "llama", "vocab_size": 32000}, None),
        ({"model_type": "qwen3", "vocab_size": 128256}, None),
        ({}, None),
    ],
)
def test_a_configuration_tells_the_licence_of_a_renamed_base(config, licence):
    assert licence_of_config(config) == licence


def test_a_renamed_llama_has_its_duties(tmp_path):
    config = {"model_type": "llama", "vocab_size": 128256}
    here = base(model_directory(tmp_path / "a", config=config))
    with pytest.raises(
        InputError, match="begins with Llama-3, as the Meta Llama 3 Com"
    ):
        terms_of(here, "o/mine", LicenceOptions())


def test_texts_of_the_base_go_along_under_plain_names(tmp_path):
    here = base(
        model_directory(
            tmp_path / "a",
            "license: llama3",
            LICENSE_txt="the licence",
            USE_POLICY_txt="the policy",
            NOTICE="their notice",
            weights_txt="not this",
        )
    )
    files = terms_of(here, "o/Llama-3-x", LicenceOptions()).files
    assert set(files) == {"LICENSE", "NOTICE", "USE_POLICY.md"}
    assert files["LICENSE"] == b"the licence"
    assert files["NOTICE"].decode().startswith(NOTICES["llama3"])
    assert files["NOTICE"].decode().endswith("their notice\n")


def test_a_licence_without_duties_is_copied_if_it_is_there(tmp_path):
    here = base(model_directory(tmp_path / "a", "license: mit", LICENSE="MIT"))
    assert terms_of(here, "o/x", LicenceOptions()).files == {"LICENSE": b"MIT"}
    bare = base(model_directory(tmp_path / "b", "license: mit"))
    assert terms_of(bare, "o/x", LicenceOptions()).files == {}


def test_the_users_copy_wins_and_brings_the_policy_beside_it(tmp_path):
    (tmp_path / "llama.txt").write_text("my copy")
    (tmp_path / "USE_POLICY.md").write_text("the policy")
    here = base(model_directory(tmp_path / "a", LICENSE="theirs"))
    options = LicenceOptions(licence="llama3", licence_file=tmp_path / "llama.txt")
    files = terms_of(here, "o/Llama-3-x", options).files
    assert files["LICENSE"] == b"my copy"
    assert files["USE_POLICY.md"] == b"the policy"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 1_000_001])
def test_a_text_that_is_none_is_refused(content):
    options = LicenceOptions(licence="mit", hub_texts={"LICENSE": content})
    with pytest.raises(InputError, match="expected the base's LICENSE to be a text in"):
        terms_of(base(), "o/x", options)


def test_a_missing_licence_file_is_refused(tmp_path):
    options = LicenceOptions(licence="mit", licence_file=tmp_path / "none")
    with pytest.raises(
        InputError, match="text of a licence at .*none, but got: No such"
    ):
        terms_of(base(), "o/x", options)


@pytest.mark.parametrize("id_", ["my licence", "../x", "-", "a\nb"])
def test_an_id_that_is_none_is_refused(id_):
    with pytest.raises(InputError, match="expected a licence such as apache-2.0"):
        terms_of(base(), "o/x", LicenceOptions(licence=id_))
