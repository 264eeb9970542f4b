"""The hub's page in a real Chromium, for the page's tests and for docs/hub.png.

Needs Debian's `chromium` and the package `playwright` (development only); brings no browser of its own.
"""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser")
# Nothing of the browser's own goes anywhere, and no name but this machine's resolves: what a page asks of elsewhere fails and shows.
ARGUMENTS = (
    "--no-sandbox",  # It shows our own page, also to root in a container, where its sandbox cannot be made.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def what_is_missing() -> str | None:
    """Why there can be no browser here, as a sentence; None when there can."""
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is not installed"
    return None if _program() else "chromium is not installed"


@contextmanager
def chromium() -> "Iterator[Browser]":
    """A browser without a window. Ask what_is_missing() first."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=list(ARGUMENTS), headless=True)
        try:
            yield browser
        finally:
            browser.close()


def _program() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)
