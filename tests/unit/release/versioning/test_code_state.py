"""Which code is running is what git says of the files that run, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from modit.release.versioning.code_state import CodeState, code_state, parse_code_state


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.delenv("MODIT_CODE_COMMIT", raising=False)
    for name in ("src/modit/__init__.py", "components/__init__.py", "docs/guide.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(repository):
    assert code_state(repository) == CodeState(git(repository, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("name", ["src/modit/__init__.py", "components/new/run.py", "feature_repo/services.py"])
def test_changed_and_new_code_is_told_and_a_changed_guide_is_not(repository, name):
    (repository / "docs" / "guide.md").write_text("other words")
    assert code_state(repository).is_known
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("x = 1")
    state = code_state(repository)
    assert state.changed and not state.is_known and str(state).endswith("+changes")


def test_outside_of_git_and_inside_of_somebody_elses_checkout_it_is_unknown(repository, tmp_path_factory):
    installed = repository / ".venv" / "lib"
    (installed / "src" / "modit").mkdir(parents=True)
    for folder in (installed, tmp_path_factory.mktemp("nowhere")):
        assert code_state(folder) == CodeState("unknown", True)


def test_an_image_without_git_is_told_its_commit(monkeypatch, tmp_path):
    for state in (CodeState("a" * 40, False), CodeState("a" * 40, True), CodeState("unknown", True)):
        monkeypatch.setenv("MODIT_CODE_COMMIT", str(state))
        assert code_state(tmp_path) == state == parse_code_state(str(state))
