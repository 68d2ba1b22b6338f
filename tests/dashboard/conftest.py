"""A real browser for the tests of the page, without any network but 127.0.0.1."""

import os
import shutil
import subprocess

import pytest

from tests.dashboard.browsing import Seen

PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
OFFLINE = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--disable-dev-shm-usage",  # of 64 MB in many containers
)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by mark
def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


def find_browser():
    """Return the path of a Chromium that starts, or None."""
    for program in PROGRAMS:
        path = shutil.which(program)
        asked = [path, "--version"]
        if path and not subprocess.run(asked, capture_output=True).returncode:
            return path
    return None


# Of a module, not of the session: as long as Playwright is there, its event loop runs
# in this thread, and asyncio.run fails.
@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    path = find_browser()
    if path is None:
        reason = "found no Chromium that starts; run: setup/system-packages.sh browser"
        if os.environ.get("LORAQD_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    rights = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=[*OFFLINE, *rights]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def seen():
    """What ``page`` complained of and whom it asked, so far."""
    return Seen()


@pytest.fixture
def page(browser, seen):
    """An empty tab of its own, whose errors and requests go to ``seen``."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    seen.watch(tab)
    yield tab
    context.close()
