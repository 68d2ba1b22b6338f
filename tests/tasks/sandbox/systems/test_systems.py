"""What a system is, in bubblewrap and in Docker."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.system import Script
from lora_qd.tasks.sandbox.systems import SystemsSettings, open_systems
from lora_qd.tasks.sandbox.systems.bubblewrap import BubblewrapSystems
from lora_qd.tasks.sandbox.systems.container import ContainerSystems
from lora_qd.tasks.sandbox.systems.root import find_root


def typed(systems, *texts):
    """Return what each of the texts gives in one fresh system."""

    async def talk():
        async with systems.open() as system:
            return [await system.type(text) for text in texts]

    return asyncio.run(talk())


def last(systems, *texts):
    return typed(systems, *texts)[-1].output


def test_directory_variables_functions_and_processes_outlive_a_call(systems):
    first = "cd /usr; x=5; f() { echo f$x; }; alias g='echo g'; sleep 99 & "
    assert last(systems, first, "pwd; f; g; jobs") == (
        "/usr\nf5\ng\n[1]+  Running                 sleep 99 &\n"
    )


def test_both_streams_come_in_order(systems):
    assert last(systems, "echo a; echo b >&2; echo c") == "a\nb\nc\n"


def test_a_text_of_many_lines_runs_as_one(systems):
    text = "for i in 1 2; do\n  cat <<X\n$i\nX\ndone\n# end"
    assert last(systems, text) == "1\n2\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("if then", "syntax error"),
        ("echo 'open", "unexpected EOF"),
        ("nonsense", "command not found"),
        ("false", ""),
        ('read x; echo "<$x>"', "<>"),
        ("printf 'a\\0b\\377'; echo", "a\0b\ufffd"),
        ("set -e; false", ""),
        ("", ""),
    ],
)
def test_a_text_that_fails_leaves_the_shell_in_order(systems, text, word):
    outcomes = typed(systems, text, "echo on")
    assert word in outcomes[0].output
    assert outcomes[1].output == "on\n"


@pytest.mark.parametrize("end", ["exit 3", "exec true", "kill -9 $$", "set -u; $no"])
def test_the_end_of_the_shell_is_followed_by_a_new_one_in_the_same_system(systems, end):
    before = "touch /root/kept; x=1"
    assert last(systems, before, end, 'ls /root; echo "$x."') == "kept\n.\n"


def test_nothing_is_lost_right_after_the_end_of_a_shell(systems):
    turns = [text for n in range(20) for text in (f"echo {n}; exit", f"echo {n}")]
    expected = [f"{n}\n" for n in range(20) for _ in range(2)]
    assert [outcome.output for outcome in typed(systems, *turns)] == expected


@pytest.mark.parametrize("end", ["exec 9>&-", "exec 8<&-", "exec >&- 2>&-; exit"])
def test_a_shell_that_closes_its_channels_is_replaced(systems, end):
    assert last(systems, end, "echo on") == "on\n"


def test_it_is_root_and_can_become_another(systems):
    text = "useradd -m bob && su bob -c 'id -un; touch /root/x || echo no'; whoami"
    assert last(systems, text).splitlines() == [
        "bob",
        "touch: cannot touch '/root/x': Permission denied",
        "no",
        "root",
    ]


def test_a_script_gets_its_arguments_and_a_shell_of_its_own(systems):
    async def talk():
        async with systems.open() as system:
            await system.type("x=1; cd /usr; alias echo=false; exec 2>/dev/null")
            shell = await system.run(Script("bash", 'echo "$#$2$x"; pwd'), ["a", "b c"])
            python = Script("python", "import sys; print(sys.argv[1:]); sys.exit(3)")
            return shell, await system.run(python, ["-x", "'$(id)'\n"])

    shell, python = asyncio.run(talk())
    assert (shell.is_ok, shell.output) == (True, "2b c\n/root\n")
    assert python.output == "['-x', \"'$(id)'\\n\"]\n"
    assert not python.is_ok
    assert python.reason.startswith("exit status 3")


def test_every_system_is_fresh(systems):
    last(systems, "echo x > /root/x; rm /usr/bin/tree; touch /tmp/y /dev/shm/z")
    text = "ls /root /tmp /dev/shm; command -v tree"
    assert "x" not in last(systems, text).split()
    assert last(systems, text).splitlines()[-1] == "/usr/bin/tree"


def test_two_systems_at_once_do_not_see_each_other(systems):
    async def talk():
        async with systems.open() as one, systems.open() as other:
            await one.type("touch /root/mine; sleep 98 & hostname one")
            return await other.type("ls /root; pgrep -c sleep; hostname")

    assert asyncio.run(talk()).output == "0\nsystem\n"


def test_a_new_command_is_no_tampering(systems):
    async def talk():
        async with systems.open() as system:
            await system.run(Script("bash", "echo x > /usr/bin/of-the-init"))
            await system.type(
                "echo 'echo hi' > /usr/local/bin/mine; touch /usr/bin/new"
            )
            await system.type("echo a > /etc/motd; useradd eve")
            return await system.tampered()

    assert asyncio.run(talk()) == ""


def test_a_program_that_stays_the_same_was_not_tampered_with(debian_root):
    systems = BubblewrapSystems(debian_root)

    async def talk():
        async with systems.open() as system:
            await system.run(Script("bash", "chmod u+s /usr/bin/find"))
            await system.type("chmod u-s /usr/bin/find; touch /usr/bin/wc")
            await system.type("cp /usr/bin/tr /x; rm /usr/bin/tr; cp -p /x /usr/bin/tr")
            return await system.tampered()

    assert asyncio.run(talk()) == ""


def test_no_process_of_a_system_outlives_it(systems):
    last(systems, "setsid -f sleep 7654321; nohup sleep 7654321 >/dev/null 2>&1 &")
    assert subprocess.run(["pgrep", "-f", "sleep 7654321"]).returncode == 1


def test_an_image_that_is_not_there_is_refused(systems):
    async def start():
        async with systems.open("packages"):
            pass

    with pytest.raises(
        SandboxError, match="'packages', but .*(name one|systems.images)"
    ):
        asyncio.run(start())


_DRIVER = """
import asyncio, sys
from pathlib import Path
from lora_qd.tasks.sandbox.systems.bubblewrap import BubblewrapSystems
async def main():
    async with BubblewrapSystems(Path(sys.argv[1])).open() as system:
        await system.type("setsid -f sleep 8765432")
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_killed_driver_leaves_no_process_and_no_mount(debian_root):
    mounts = _mounts()
    line = [sys.executable, "-c", _DRIVER, debian_root]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout.readline() == "ready\n"
        driver.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while subprocess.run(["pgrep", "-f", "sleep 8765432"]).returncode == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert _mounts() == mounts


def _mounts():
    with open("/proc/self/mounts") as file:
        return sorted(file)


def _open(settings):
    async def choose():
        async with open_systems(settings) as systems:
            return systems

    return asyncio.run(choose())


def test_without_images_auto_takes_bubblewrap(debian_root):
    chosen = _open(SystemsSettings(root=debian_root))
    assert isinstance(chosen, BubblewrapSystems)


def test_an_engine_that_does_not_work_is_passed_over(debian_root, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    settings = SystemsSettings(root=debian_root, images={"default": "x"})
    assert isinstance(_open(settings), BubblewrapSystems)


@pytest.mark.slow
def test_with_images_auto_takes_an_engine_that_works(docker_images):
    chosen = _open(SystemsSettings(images=docker_images))
    assert isinstance(chosen, ContainerSystems)


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"engine": "docker"}, "expected docker to start .*images names no image"),
        ({"engine": "podman", "images": {"default": "x"}}, "expected podman to start"),
    ],
)
def test_an_engine_that_is_asked_for_must_work(settings, fact, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setenv("CONTAINER_HOST", "unix:///nowhere")
    with pytest.raises(SandboxError, match=fact):
        _open(SystemsSettings(**settings))


def test_a_root_without_a_system_in_it_is_refused(tmp_path):
    with pytest.raises(SandboxError, match="a Debian system with python3 in .*build"):
        find_root(tmp_path)


def test_without_roots_rights_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match="root's rights .*run as root"):
        BubblewrapSystems(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SandboxError, match="root's rights.*run as root"):
        find_root()


def test_a_failing_build_of_the_root_leaves_nothing(tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "debootstrap"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nfor last; do :; done\necho "E: no mirror"; exit 7\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SandboxError, match="ended with 7: E: no mirror"):
        find_root()
    left = [p for p in (tmp_path / "cache" / "loraqd").iterdir() if p.is_dir()]
    assert left == []


@pytest.mark.parametrize("num_systems", [1, 3])
def test_a_run_that_ends_while_systems_start_ends_at_once(debian_root, num_systems):
    systems = BubblewrapSystems(debian_root, num_systems=num_systems)

    async def one(number):
        async with systems.open() as system:
            if number == 0:
                raise KeyError("the end")
            await system.type("sleep 5")

    async def all_at_once():
        async with asyncio.timeout(10):
            await asyncio.gather(*map(one, range(6)))

    with pytest.raises(KeyError, match="the end"):
        asyncio.run(all_at_once())
