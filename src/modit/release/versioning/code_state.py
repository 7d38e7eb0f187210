"""Which code is running: the git commit that it lies in, and whether it was changed since."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

COMMIT_VARIABLE = "MODIT_CODE_COMMIT"
UNKNOWN = "unknown"
_CHANGED = "+changes"
# What a run can depend on; a changed guide or test does not count, and parameters are recorded themselves.
_SOURCES = ("src", "components", "feature_repo")


@dataclass(frozen=True)
class CodeState:
    """A commit, or "unknown"; and whether the files that a run depends on differ from it, or nobody can tell."""

    commit: str
    changed: bool

    @property
    def is_known(self) -> bool:
        """Whether checking out the commit gives this code."""
        return self.commit != UNKNOWN and not self.changed

    def __str__(self) -> str:
        return self.commit + (_CHANGED if self.changed and self.commit != UNKNOWN else "")


def parse_code_state(text: str) -> CodeState:
    """Reads what `str` of a code state gave."""
    commit = text.removesuffix(_CHANGED)
    return CodeState(commit, commit == UNKNOWN or text != commit)


def code_state(folder: Path) -> CodeState:
    """The state of the checkout with this root: what MODIT_CODE_COMMIT says, as in an image without git, else git.

    An installed package inside somebody else's checkout is "unknown".
    """
    if stated := os.environ.get(COMMIT_VARIABLE):
        return parse_code_state(stated)
    commit = git(folder, "rev-parse", "HEAD")
    if commit is None or git(folder, "ls-files", "--error-unmatch", "src/modit/__init__.py") is None:
        return CodeState(UNKNOWN, True)
    return CodeState(commit, git(folder, "status", "--porcelain", "--", *_SOURCES) != "")


def git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints, without the last line break; None when it fails or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
