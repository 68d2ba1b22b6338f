"""How a candidate's turn is read, what it is told, and what the named checks hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_qd.tasks.agentbench.system_checks import check_named, holds
from lora_qd.tasks.agentbench.system_protocol import (
    Action,
    action_of,
    opening_of,
    printed,
    reply_of,
)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Think: x\n\nAct: bash\n\n```bash\nls -a\n```", Action(code="ls -a")),
        ("Act: bash\r\n```bash \r\nls\r\n```", Action(code="ls")),
        ("Act: finish", Action(is_end=True)),
        ("Think: done\nAct: Finish.", Action(is_end=True)),
        ("Act: answer(5)", Action(is_end=True, answer="5")),
        ("Act: Answer ( /etc (x) ) .", Action(is_end=True, answer=" /etc (x) ")),
        ("Act: answer()", Action(is_end=True, answer="")),
        ("Act: answer($(rm /); 'x')", Action(is_end=True, answer="$(rm /); 'x'")),
        ("Act: bash\nls", Action(code="")),
        ("Act: answer(1)\nAct: answer(2)", Action(is_end=True, answer="2")),
        ("Act: answer(1)\nAct: answer(2", Action(is_end=True, answer="1")),
        ("Act: answer(2)\nAct: finish", Action(is_end=True)),
        (
            "```bash\ncd /\n```\nand\nAct: bash\n```bash\nls\npwd\n```\n```sh\nno\n```",
            Action(code="cd /\n\nls\npwd"),
        ),
    ],
)
def test_an_action_is_read(text, action):
    assert action_of(text) == action


@pytest.mark.parametrize(
    "text", ["", "answer(5)", "Act: answer(5", "Act: answer 5", "Act: sing", "Act:"]
)
def test_a_turn_without_an_action_is_empty(text):
    assert action_of(text) == Action()


@given(st.text())
def test_every_text_is_read(text):
    assert isinstance(action_of(text), Action)
    assert action_of(f"{text}\nAct: finish").is_end


def test_output_is_told_as_a_terminal_shows_it():
    reply = reply_of("\x1b[?2004h\x1b]0;title\x07\x1b[1;31mred\x1b[0m\nblue\t!\n")
    assert reply == "The output of the OS:\n\nred\nblue\t!\n"


@pytest.mark.parametrize("output", ["", "\x07"])
def test_no_output_is_told_in_words(output):
    assert reply_of(output) == "The output of the OS is empty."
    assert printed(reply_of(output)) == ""


def test_output_of_800_characters_is_whole_and_a_longer_one_cut_to_780():
    assert printed(reply_of("x" * 800)) == "x" * 800
    words, _, note = printed(reply_of("x" * 801)).partition("\n")
    assert words == "x" * 780
    assert "truncated" in note


def test_the_opening_speaks_in_turns_and_keeps_to_its_own_protocol():
    messages = opening_of("How many?")
    assert messages[-1].content.endswith("My problem is:\n\nHow many?")
    assert [m.role for m in messages] == ["user", "assistant"] * 2 + ["user"]
    assert [action_of(m.content) for m in messages[1::2]] == [
        Action(code="find /var -mindepth 1 -maxdepth 1 -type d | wc -l"),
        Action(is_end=True, answer="11"),
    ]


RIGHT = [
    ("integer-match", "5", "5\n"),
    ("integer-match", " 05 \r\n", "5\n"),
    ("integer-match", "-3", "-3"),
    ("string-match", "a\r\nb ", "a\nb\n"),
    ("containing", "It is /usr/bin, I think", "/usr/bin\n"),
    ("in", "bob", "alice\nbob\n"),
    ("size-match", "4096", "4K"),
    ("size-match", "4KB", "4.0K\n"),
    ("size-match", "1 MB", "1024K"),
    ("size-match", "2g", "2048M"),
    ("size-match", "1T", "1024GB"),
    ("size-match", "1.5K", "1536B"),
]
WRONG = [
    ("integer-match", "6", "5"),
    ("integer-match", "5.0", "5"),
    ("integer-match", "5 files", "5"),
    ("integer-match", "five", "five"),
    ("integer-match", "9" * 10_000, "9" * 10_000),
    ("string-match", "A", "a"),
    ("string-match", "a b", "a\nb"),
    ("containing", "/usr", "/usr/bin"),
    ("containing", "anything", "\n"),
    ("in", "carol", "alice\nbob\n"),
    ("in", "", "alice"),
    ("string-match", "", ""),
    ("size-match", "4000", "4K"),
    ("size-match", "4K", "4M"),
    ("size-match", "4X", "4X"),
    ("size-match", "-4K", "-4K"),
    ("size-match", "K", "K"),
]


@pytest.mark.parametrize(
    ("name", "answer", "expected", "is_right"),
    [*((*c, True) for c in RIGHT), *((*c, False) for c in WRONG)],
)
def test_a_named_check(name, answer, expected, is_right):
    assert check_named(f"check/{name}.py") == name
    assert holds(name, answer, expected) is is_right
