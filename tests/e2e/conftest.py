"""A browser, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

# Playwright's own loop runs in this thread; the ORM calls of the tests are in it too, and are not async.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the system's packages bring it."""
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the pages are NOT tested here. Install one: apt-get install chromium")
    with sync_playwright() as playwright:
        # Its own sandbox needs an account that is not root; the pages are ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()
