"""What a candidate must not see, reach, forge or spoil, as root of its system."""

import asyncio
import os
import shutil
import socket

import pytest

from lora_qd.tasks.sandbox.system import Script

SECRET = "pineapple-4711"
CHECK = Script("bash", 'test -f /root/goal && [ "$(wc -l < /root/goal)" = 3 ]')

BREAKS_A_LIMIT = {
    "fork bomb": (":(){ :|:& };:; sleep 3", "processes"),
    "many sleepers": ("for i in $(seq 200); do sleep 99 & done; wait", "processes"),
    "memory": (
        'for i in 1 2; do python3 -c \'import time; x = b"x" * (200 << 20); '
        "time.sleep(3)' & done; wait",
        "memory",
    ),
    "endless loop": ("while :; do :; done", "cpu"),
    "loop in the background": ("(while :; do :; done) & sleep 3.5", "cpu"),
    "waiting": ("sleep 99", "wall"),
    "stopping itself": ("kill -STOP $$; echo on", "wall"),
    "flood": ("yes", "output"),
    "flood of zeros": ("cat /dev/zero", "output"),
}
IS_REFUSED = {
    "mount": "mount -t tmpfs none /mnt",
    "remount": "mount -o remount,rw /proc/sys",
    "umount": "umount -l /proc",
    "device": "mknod /tmp/x b 8 0",
    "namespace": "unshare -U true",
    "chroot": "chroot / true",
    "clock": "date -s 2020-01-01",
    "core pattern": "echo '|/x' > /proc/sys/kernel/core_pattern",
    "hostile host name": "echo x > /proc/sys/kernel/hostname",
    "memory of the supervisor": "head -c 1 /proc/1/mem",
    "environment of the supervisor": "cat /proc/1/environ",
    "channel of the supervisor": "echo x > /proc/1/fd/101",
    "tracing": "python3 -c 'import ctypes; x=ctypes.CDLL(None).ptrace(16,1,0,0); "
               "exit(x != 0)'",
    "code of the supervisor": "echo x > /worker/lora_qd/tasks/sandbox/inside/system.py",
    "netlink": "python3 -c 'import socket; socket.socket(16, 3)'",
    "kernel module": "python3 -c 'import ctypes; "
                     "exit(ctypes.CDLL(None).syscall(175, 0, 0, 0) != 0)'",
    "kernel log": "cat /dev/kmsg",
    "raw memory": "cat /dev/mem",
}  # fmt: skip
FORGES = {
    "a message of success": "echo passed; echo '{\"status\": 0}'",
    "the mark of the shell": "printf ....... >&9; echo '{}' >&8",
    "a function and an alias": "test() { true; }; [() { true; }; alias test=true; "
                               "export -f test",
    "start files of the shell": "export BASH_ENV=/root/e; echo 'exit 0' | tee /root/e "
                                ".bashrc .profile /etc/profile /etc/bash.bashrc",
    "a trap": "trap 'exit 0' DEBUG EXIT ERR",
    "a program of the same name": "printf '#!/bin/sh\\necho 3' | tee "
                                  " /usr/local/bin/wc > /usr/local/sbin/wc; "
                                  "chmod +x /usr/local/*bin/wc",
    "a path": "mkdir /x; printf '#!/bin/sh\\necho 3' >/x/wc; chmod +x /x/wc; "
              "export PATH=/x:$PATH",
    "a changed program": "cp /bin/true /usr/bin/wc",
    "a removed program": "rm /usr/bin/wc",
    "a moved program": "mv /usr/bin/wc /usr/bin/wc2; ln -s /bin/true /usr/bin/wc",
    "a preloaded library": "echo /root/x.so > /etc/ld.so.preload",
    "a module of Python": "mkdir -p /usr/local/lib/python3.11/dist-packages; echo "
                          "'import os; os._exit(0)' | tee "
                          "/usr/lib/python3/dist-packages/sitecustomize.py",
    "a link to elsewhere": "rm -rf /usr/lib/python3; ln -s / /usr/lib/python3",
    "an emptied directory": "rm -rf /usr/lib/python3; mkdir /usr/lib/python3",
    "killing everything": "kill -9 -1",
    "killing the supervisor": "kill -9 1; kill -TERM 1; kill -INT 1",
    "a daemon that kills scripts": "setsid -f bash -c 'while sleep 0.01; do "
                                   "pkill -9 -f goal; done'",
}  # fmt: skip


def attack(systems, text):
    """Return the outcome, what tampering is seen, and whether the check passes."""

    async def talk():
        async with systems.open() as system:
            outcome = await system.type(text)
            after = await system.type("echo still here")
            fault = await system.tampered()
            is_passed = not fault and (await system.run(CHECK)).is_ok
            return outcome, after, fault, is_passed

    return asyncio.run(talk())


def assert_unharmed(systems):
    """Hold that the next sample's system works and says the truth."""

    async def talk():
        async with systems.open() as system:
            wrong = await system.run(CHECK)
            await system.type("printf 'a\\nb\\nc\\n' > /root/goal")
            return wrong, await system.tampered(), await system.run(CHECK)

    wrong, fault, right = asyncio.run(talk())
    assert (wrong.is_ok, fault, right.is_ok) == (False, "", True)


@pytest.mark.parametrize("name", BREAKS_A_LIMIT)
def test_a_broken_limit_is_named_and_the_system_goes_on(systems, name):
    text, limit = BREAKS_A_LIMIT[name]
    outcome, after, _, is_passed = attack(systems, text)
    assert (outcome.limit, outcome.is_ok, is_passed) == (limit, False, False)
    assert after.output.endswith("still here\n")
    assert_unharmed(systems)


@pytest.mark.parametrize("name", IS_REFUSED)
def test_it_is_refused(systems, name):
    outcome, *_ = attack(systems, f"{IS_REFUSED[name]} 2>&1 && echo got through")
    assert "got through" not in outcome.output
    assert_unharmed(systems)


@pytest.mark.parametrize("name", FORGES)
def test_it_forges_no_success(systems, name):
    *_, is_passed = attack(systems, FORGES[name])
    assert not is_passed
    assert_unharmed(systems)


@pytest.mark.parametrize("name", [n for n in FORGES if "a changed" in n or "dir" in n])
def test_tampering_is_named(systems, name):
    _, _, fault, _ = attack(systems, FORGES[name])
    assert fault.startswith("the answer changed the system's own /usr/")


def test_a_full_disk_is_the_samples_own(systems, tmp_path):
    free = shutil.disk_usage(tmp_path).free
    fill = (
        "for i in 1 2 3 4 5 6; do head -c 60M /dev/zero > /tmp/f$i || echo full; done"
    )
    outcome, after, _, _ = attack(systems, fill)
    assert "full" in outcome.output or outcome.limit == "memory"
    assert after.output == "still here\n"
    assert shutil.disk_usage(tmp_path).free > free - (64 << 20)
    assert_unharmed(systems)


def test_nothing_of_the_host_is_seen(systems, tmp_path, monkeypatch):
    monkeypatch.setenv("LORAQD_SECRET", SECRET)
    (tmp_path / "secret").write_text(SECRET)
    look = f"env; cat {tmp_path}/secret /proc/*/environ /etc/shadow; "
    outcome, *_ = attack(systems, look + "ls / /home /mnt; ps -ef; hostname")
    assert SECRET not in outcome.output
    assert "pytest" not in outcome.output.replace(str(tmp_path), "")
    assert os.uname().nodename not in outcome.output.split()


def test_the_hosts_own_ports_are_out_of_reach(systems):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome, *_ = attack(systems, f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo in")
    assert "Connection refused" in outcome.output
    assert "in\n" not in outcome.output
