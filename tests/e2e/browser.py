"""Chromium as a person has it; Debian's `chromium`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

_QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextmanager
def page(scripts: bool = True) -> Iterator[Page]:
    """A page; at the end nothing may stand in its console, and nothing may have been asked of elsewhere."""
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_QUIET.split())
        found = browser.new_page(viewport={"width": 1200, "height": 900}, java_script_enabled=scripts)
        found.on("console", lambda message: said.append(message.text))
        found.on("pageerror", lambda error: said.append(str(error)))
        found.on("request", lambda sent: said.append(sent.url) if "//127.0.0.1" not in sent.url else None)
        yield found
        browser.close()
    assert said == []
