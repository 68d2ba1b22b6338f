"""A real MariaDB for the session, on a Unix socket, and both databases in turn."""

import os
import shutil
import subprocess
import time

import pytest

from tests.tasks.agentbench.tables import ROWS, write

_PATH = f"{os.environ['PATH']}:/usr/sbin"
_START_S = 60
URL = "LORAQD_TEST_MYSQL_URL"


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory):
    """The URL of a server that this session started."""
    server = shutil.which("mariadbd", path=_PATH)
    installer = shutil.which("mariadb-install-db", path=_PATH)
    if not server or not installer:
        pytest.skip("mariadbd is not installed; make test installs it")
    home = tmp_path_factory.mktemp("mariadb")
    common = ["--no-defaults", f"--datadir={home / 'data'}"]
    common += ["--user=root"] if os.geteuid() == 0 else []
    how = ["--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([installer, *common, *how], check=True, capture_output=True)
    socket = home / "s"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, *common, f"--socket={socket}", "--skip-networking"],
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + _START_S
        while not socket.exists() and process.poll() is None:
            assert time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.1)
        yield f"mysql://root@localhost/?unix_socket={socket}"
    finally:
        process.terminate()
        process.wait(timeout=_START_S)


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request, monkeypatch):
    """Settings of each database in turn."""
    if request.param == "sqlite":
        return {}
    monkeypatch.setenv(URL, request.getfixturevalue("mariadb"))
    return {"mysql_url_env": URL}


@pytest.fixture
def pets(tmp_path):
    return write(tmp_path / "pets.jsonl", *ROWS)
