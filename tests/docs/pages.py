"""The pages of the documentation, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
_BLOCK = re.compile(r"^( *)```(console|bash)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A command of a page.

    Attributes:
        page: path below the root.
        words: program and arguments, without variables before it.
    """

    page: str
    words: tuple[str, ...]


def blocks(path: Path) -> list[str]:
    """The shell blocks of a page, in order."""
    return [re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE) for found in _BLOCK.finditer(path.read_text())]


def commands() -> Iterator[Command]:
    """Every command in the shell blocks of all pages."""
    for path in PAGES:
        for block in blocks(path):
            for line in block.replace("\\\n", " ").splitlines():
                for words in _split(line):
                    yield Command(str(path.relative_to(ROOT)), tuple(words))


def _split(line: str) -> Iterator[list[str]]:
    """The simple commands of a line: without comments, redirections and what `$(...)` stands for."""
    lexer = shlex.shlex(_without_substitutions(line), posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            while words and re.match(r"(\w+=|export$|then$|do$)", words[0]):
                del words[0]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _without_substitutions(line: str) -> str:
    """The line with `VALUE` for each `$(...)`, nested parentheses included."""
    while (start := line.find("$(")) >= 0:
        depth, end = 0, start + 1
        for end in range(start + 1, len(line)):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            if not depth:
                break
        line = f"{line[:start]}VALUE{line[end + 1 :]}"
    return line


def inline_code() -> Iterator[Command]:
    """Each `modit ...` that stands in a sentence or a table."""
    for path in PAGES:
        text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for found in re.findall(r"`(modit [^`\n]+)`", text):
            yield Command(str(path.relative_to(ROOT)), tuple(found.replace("|", " ").split()))
