"""Takes the pictures of the documentation: a person runs it after `make run`, with a service that answers from the run.

    python -m docs.pictures --run runs/first --service http://localhost:8000

It needs Chromium (Debian: `chromium`). Each picture is a PNG in docs/images/: pages as they are, and the output of
commands that it runs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

from modit.client import Client

IMAGES = Path(__file__).parent / "images"
WIDE, PHONE = 1300, 390  # pixels
_TERMINAL = """<body style="margin: 0; background: #14181f; color: #e6e9ee">
<pre style="font: 14px/1.5 monospace; padding: 1.2rem; margin: 0; width: max-content; max-width: 1260px;
white-space: pre-wrap"><span style="color: #5fc98b">$</span> {command}\n\n{output}</pre>"""


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        name: Of the file, without its ending.
        address: Of the page.
        width: Of the window, in pixels.
        height: Where the picture ends, in pixels; 0 takes the whole page.
    """

    name: str
    address: str
    width: int = WIDE
    height: int = 0


def pages(run: Path, service: str) -> Iterator[Picture]:
    """The pages that are shown.

    Args:
        run: Folder of a run.
        service: Address of a service that answers from it.
    """
    yield Picture("report", f"{(run / 'report' / 'report.html').resolve().as_uri()}", height=900)
    yield Picture("explore", f"{service}/explore", height=720)
    yield Picture("explore-example", f"{service}/explore?example=50")
    yield Picture("explore-phone", f"{service}/explore?example=50", PHONE, 900)
    yield Picture("releases", f"{service}/releases", height=900)


def commands(run: Path, service: str) -> Iterator[tuple[str, list[str]]]:
    """The commands whose output is shown: name of the picture, and the words of the command."""
    yield "verdict", ["modit", "verdict", "--run", str(run)]
    domain = sorted(Client(service).readiness()["releases"])[0]
    seeds = "item-00000000,item-00000001"
    yield "query", ["modit", "query", "--domain", domain, "--seeds", seeds, "-k", "5", "--url", service]


def take(page: Page, picture: Picture, folder: Path) -> None:
    """Takes a picture of a page.

    Args:
        page: Of the browser.
        picture: What is shown.
        folder: That it is written into.

    Raises:
        SystemExit: The page does not answer.
    """
    page.set_viewport_size({"width": picture.width, "height": picture.height or 800})
    answer = page.goto(picture.address)
    if answer is None or not answer.ok:
        raise SystemExit(f"{picture.address} answers {answer and answer.status}; needed: a service with this run")
    page.screenshot(path=folder / f"{picture.name}.png", full_page=not picture.height)


def take_terminal(page: Page, name: str, words: list[str], folder: Path) -> None:
    """Runs a command of `modit` and takes a picture of what it writes. `modit verdict` exits with 1 at a FAIL."""
    program = [sys.executable, "-m", "modit.cli", *words[1:]]
    output = subprocess.run(program, check=False, capture_output=True, text=True).stdout
    page.goto("about:blank")  # else the policy of the page before forbids styles
    page.set_viewport_size({"width": WIDE, "height": 800})
    page.set_content(
        _TERMINAL.format(command=escape(" ".join(words)), output=escape(output.strip().replace(f"{Path.cwd()}/", "")))
    )
    page.locator("pre").screenshot(path=folder / f"{name}.png")


def main() -> None:
    """Takes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run, such as runs/first")
    parser.add_argument("--service", required=True, help="address of a service that answers from it")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures (default: docs/images)")
    chosen = parser.parse_args()
    service = chosen.service.rstrip("/")
    chosen.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        for picture in pages(chosen.run, service):
            take(page, picture, chosen.out)
        for name, words in commands(chosen.run, service):
            take_terminal(page, name, words, chosen.out)
        browser.close()


if __name__ == "__main__":
    main()
