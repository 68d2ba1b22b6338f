"""Systems of both kinds: in bubblewrap, and in containers of a Docker of our own."""

import os
import shutil
import subprocess
import time
from dataclasses import replace

import pytest

from lora_qd.tasks.sandbox.job import MIB
from lora_qd.tasks.sandbox.system import SYSTEM_LIMITS
from lora_qd.tasks.sandbox.systems.bubblewrap import BubblewrapSystems
from lora_qd.tasks.sandbox.systems.container import ContainerSystems

LIMITS = replace(
    SYSTEM_LIMITS, cpu_s=1, wall_s=4.0, memory_bytes=256 * MIB, num_processes=60
)
_PATH = f"{os.environ['PATH']}:/usr/sbin"
_START_S = 60


@pytest.fixture(params=["bubblewrap", pytest.param("docker", marks=pytest.mark.slow)])
def systems(request):
    """Systems with limits that a test can break within seconds."""
    if request.param == "docker":
        images = request.getfixturevalue("docker_images")
        return ContainerSystems("docker", images, limits=LIMITS)
    root = request.getfixturevalue("debian_root")
    return BubblewrapSystems(root, limits=LIMITS)


@pytest.fixture(scope="session")
def docker_images(tmp_path_factory, debian_root):
    """The images of a Docker daemon that this session started."""
    daemon = shutil.which("dockerd", path=_PATH)
    if daemon is None or shutil.which("docker") is None:
        pytest.skip("Docker is not installed; make test-slow installs it")
    home = tmp_path_factory.mktemp("docker")
    line = [daemon, "--data-root", home / "data", "--exec-root", home / "exec"]
    line += ["-H", f"unix://{home}/s", "-p", home / "pid", "--bridge=none"]
    line += ["--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    line += ["--ip-masq=false", "--default-ulimit", "nofile=1024:1024"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log)
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = f"unix://{home}/s"
    try:
        _wait(process, home / "log")
        archive = subprocess.Popen(
            ["tar", "-C", debian_root, "-c", "."], stdout=subprocess.PIPE
        )
        with archive:
            importing = ["docker", "import", "-", "loraqd-test"]
            subprocess.run(importing, stdin=archive.stdout, check=True)
        yield {"default": "loraqd-test"}
    finally:
        process.terminate()
        process.wait(timeout=_START_S)
        os.environ.pop("DOCKER_HOST")
        if before is not None:
            os.environ["DOCKER_HOST"] = before


def _wait(process, log):
    end = time.monotonic() + _START_S
    while subprocess.run(["docker", "info"], capture_output=True).returncode:
        words = log.read_text()[-1500:]
        if process.poll() is not None:
            pytest.skip(f"Docker does not start here: {words}")
        assert time.monotonic() < end, words
        time.sleep(0.3)
