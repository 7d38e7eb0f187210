"""Pages agree with the repository: paths that they name exist, settings are complete, prose has no coined words."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import PAGES, ROOT
from tests.prose_check import RULES, check_file

# Paths that appear when something runs, or that are examples.
_MADE = re.compile(r"build/|infra/compose/\.env|overlays/site|IMAGE\.txt|NAME|STEP|runs/|pipelines/kfp_components")
FOLDERS = ("src", "dags", "pipelines", "components", "feature_repo")
# Variables that the tests, the images or a launcher set for a child process.
INTERNAL = {"MODIT_PRECISION", "MODIT_CHAMPIONS", "MODIT_STARTING_POINT"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    named = re.findall(
        r"`((?:src|tests|benchmarks|infra|components|pipelines|dags|feature_repo|docs)/[\w./-]+)`", page.read_text()
    )
    assert {name for name in named if not _MADE.search(name) and not (ROOT / name).exists()} == set()


def test_pages_of_the_repository_are_named_where_they_are():
    wrong = []
    for folder in (*FOLDERS, "infra", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".yml", ".html", ".json") and "/docs/" not in str(path):
                names = re.findall(r"\bdocs/[\w/-]+\.(?:md|svg|png)", path.read_text())
                wrong += [f"{path}: {name}" for name in names if not (ROOT / name).exists()]
    assert [each for each in wrong if "docs/guide.md" not in each] == []


def variables() -> set[str]:
    """The variables of modit that the code names as a string."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= set(re.findall(r"^MODIT_[A-Z_]+$", node.value))
    return found


def test_every_variable_that_the_code_reads_is_a_setting_and_none_is_invented():
    page = set(re.findall(r"\bMODIT_[A-Z_]+\b", (ROOT / "docs/reference/settings.md").read_text()))
    assert variables() - page - INTERNAL == set()
    assert {name for name in page - variables() if not _in_tests(name)} == set()


def _in_tests(name: str) -> bool:
    return any(name in path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.name != "test_pages.py")


@pytest.mark.parametrize(
    ("text", "rule"),
    [("The last one, who finds the parts, joins them.", "who-clause"), ("For whom has a server.", "whoever"),
     ("People are told of failures.", "told of"), ("It joins parts of it.", "of it")],
)  # fmt: skip
def test_the_prose_check_finds_what_the_style_guide_names(tmp_path, text, rule):
    page = tmp_path / "page.md"
    page.write_text(f"{text}\n\n```\n{text}\n```\n")
    assert [(finding.rule.name, finding.line) for finding in check_file(page)] == [(rule, 1)]


def test_the_prose_check_reads_names_docstrings_and_comments(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""Args: `a` is a."""\n# whoever asks\nclass Rival:\n    pass\n')
    assert {finding.rule.name for finding in check_file(module)} >= {"section in a sentence", "whoever", "Rival"}


def test_pages_have_no_coined_words():
    pages = [path for path in PAGES if "/adr/" not in str(path) and path.name != "parameters.md"]
    assert [str(finding) for path in pages for finding in check_file(path)] == []


def test_rules_of_prose_have_names_of_their_own():
    assert len({rule.name for rule in RULES}) == len(RULES)
