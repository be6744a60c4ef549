"""A page in a process of its own, and the browser of this machine."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from support.paths import ROOT

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def installed_browser():
    """The Chromium of this machine; the test is skipped where there is none."""
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser ({', '.join(BROWSERS)}): apt-get install chromium-headless-shell")
    return path


def asked(url, **headers):
    """(status, content) of a GET."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode("utf-8", "replace")


@contextlib.contextmanager
def visited(address):
    """Opens a page in Chromium; yields the view, Playwright's `expect`, and the list of all addresses that are asked for.

    The test is skipped where Playwright or a browser is missing.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
    path, urls = installed_browser(), []
    sync_api.expect.set_options(timeout=90_000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        view = browser.new_page()
        view.set_default_timeout(90_000)
        view.on("request", lambda request: urls.append(request.url))
        view.goto(address)
        yield view, sync_api.expect, urls
        browser.close()


def others_than(address, urls):
    """The addresses that are not below `address`."""
    return {url for url in urls if not url.startswith(("data:", "blob:", f"{address}/"))}


@contextlib.contextmanager
def served(module, *flags):
    """Serves a page at a free port; yields the process, its address and what it said at its start."""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    line = [sys.executable, "-m", module, *flags, "--port=0"]
    with subprocess.Popen(line, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = []
            while not said or not said[-1].startswith("open http://127.0.0.1:"):
                said.append(process.stderr.readline())
                assert said[-1], said
            address, began = said[-1].split()[1], time.monotonic()
            while True:
                with contextlib.suppress(urllib.error.URLError):
                    if asked(address)[0] == 200:
                        break
                assert time.monotonic() - began < 60, "the page did not start"
                time.sleep(0.1)
            yield process, address, said
        finally:
            process.kill()
