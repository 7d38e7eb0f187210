"""The site builds with strict links, fetches nothing from other hosts, and its generated tables are up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import drawings, generate
from docs.tables.commands import modit_parser
from docs.tables.fields import attributes
from tests.docs.pages import PAGES, ROOT

PROGRAM = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir"]


def build(folder: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [*PROGRAM, str(folder), "--config-file", str(config)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site):
    made = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html")}
    wanted = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    assert {name.replace("README", "index") for name in wanted} | {"contributing", "changelog"} <= made


def test_no_page_fetches_anything_from_another_host(site):
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]*src="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(?:https?:)?//'
    )
    assert [str(path) for path in site.rglob("*.html") if fetched.search(path.read_text())] == []


def test_every_list_and_table_is_rendered(site):
    """Markdown needs an empty line before a list or a table; without one its source is shown."""
    raw = re.compile(r"<p>(?:(?!</p>).)*?\n(?:- |\d\. |\|)|<p>\|", re.DOTALL)
    assert [str(path) for path in site.rglob("*.html") if raw.search(path.read_text())] == []


@pytest.mark.parametrize("link", ["no-such-page.md", "index.md#no-such-heading"])
def test_a_dead_link_fails_the_build(tmp_path, link):
    config = tmp_path / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text()
    config.write_text(
        re.sub(r"^(docs_dir|hooks|nav|extra_css):.*?(?=^\w|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n[link]({link})\n")
    done = build(tmp_path / "site", config)
    assert done.returncode != 0 and "no-such" in done.stderr


def test_generated_tables_are_up_to_date():
    assert [str(path) for path in generate.outdated()] == [], "run: python -m docs.generate"


def test_figures_are_up_to_date_and_show_every_step_of_a_run():
    assert [str(path) for path in drawings.outdated()] == [], "run: python -m docs.drawings"


def test_a_table_that_was_edited_is_seen():
    page = "<!-- generated: refusals -->\n| name | when |\n<!-- end -->\n"
    assert generate.rewritten(page) != page
    assert generate.rewritten(generate.rewritten(page)) == generate.rewritten(page)


def test_every_generated_table_is_on_a_page():
    shown = set(re.findall(r"<!-- generated: ([\w-]+) -->", "".join(path.read_text() for path in PAGES)))
    assert shown == set(generate.BLOCKS)


def test_every_parameter_has_a_meaning():
    from modit.params import Params

    for name, field in Params.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            missing = set(field.annotation.model_fields) - set(attributes(field.annotation))
            assert missing == set(), f"section {name}: no meaning of {missing} in the docstring"


def test_every_option_of_a_command_has_a_help():
    for parser in _parsers(modit_parser()):
        for action in parser._actions:
            assert action.help or not action.option_strings, f"{parser.prog}: {action.option_strings} has no help"


def _parsers(parser):
    yield parser
    for action in parser._actions:
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            for child in action.choices.values():
                yield from _parsers(child)
