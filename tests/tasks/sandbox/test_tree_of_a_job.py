"""The scratch directory that goes in and comes out."""

import pytest

from lora_qd.tasks.sandbox import Job, Limits
from tests.tasks.sandbox.jobs import bash, python, run


def test_the_tree_is_returned_and_links_are_not_followed():
    (outcome,) = run(
        bash(
            "ln -s /etc/ld.so.cache link; ln -s . loop; mkfifo pipe; mkdir d; "
            "echo new > d/f; chmod 000 d/f d; printf 'a\\377b' > raw; ln raw hard",
            files={"old.txt": "kept é\n", "e/g": "x", "empty": None},
            collect_tree=True,
        )
    )
    assert outcome.files == {
        "old.txt": "kept é\n",
        "e": None,
        "e/g": "x",
        "empty": None,
        "link": "link to /etc/ld.so.cache",
        "loop": "link to .",
        "pipe": "special file",
        "d": None,
        "d/f": "new\n",
        "raw": "a\ufffdb",
        "hard": "a\ufffdb",
    }


def test_no_tree_is_returned_unasked():
    (outcome,) = run(bash("ls", files={"a": ""}))
    assert (outcome.output, outcome.files) == ("a\n", {})


@pytest.mark.parametrize(
    "job",
    [
        bash("touch $(seq 2000)", collect_tree=True),
        bash("head -c 9000000 /dev/zero > big", collect_tree=True),
        bash("truncate -s 16000000 hole", collect_tree=True),
        python(
            "import os\nfor _ in range(1500): os.mkdir('d' * 9); os.chdir('d' * 9)",
            collect_tree=True,
        ),
    ],
    ids=lambda job: job.source[:20],
)
def test_a_huge_tree_is_not_returned(job):
    (outcome,) = run(job, limits=Limits(wall_s=20.0))
    assert list(outcome.files) == ["..."]


def test_the_working_directory_is_the_scratch_directory():
    outcomes = run(bash("pwd; cat f", files={"f": "text"}), python("print(open('f'))"))
    assert outcomes[0].output == "/scratch\ntext"
    assert not outcomes[1].is_ok


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", "."])
def test_a_path_that_leads_out_is_refused(path):
    with pytest.raises(ValueError, match="expected paths below the scratch directory"):
        Job("bash", "", files={path: ""})


def test_output_that_is_no_text_is_replaced_and_unicode_kept():
    binary, text = run(bash("printf 'a\\377b'"), python("print('é😀')"))
    assert binary.output == "a\ufffdb"
    assert text.output == "é😀\n"


def test_files_that_contradict_each_other_are_the_jobs_fault():
    (outcome,) = run(bash("true", files={"a": "text", "a/b": "text"}))
    assert (
        outcome.reason == "exit status 1: FileExistsError: [Errno 17] File exists: 'a'"
    )
