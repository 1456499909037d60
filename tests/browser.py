"""A headless Chromium of this machine, driven by Playwright, whose own downloads are not needed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright
from servers import NoServerError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable() -> str:
    """The browser's program; NoServerError where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise NoServerError(f"there is no browser: none of {', '.join(NAMES)} is installed")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. NoServerError if there is none."""
    path = executable()
    # root, as in a container, has no sandbox
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
