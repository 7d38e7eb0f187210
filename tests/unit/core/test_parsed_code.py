"""Sources are parsed once: what was found is kept by their content, and a file that cannot be used costs only time."""

from __future__ import annotations

import json

import pytest

from modit.core import parsed_code as module
from modit.core.parsed_code import ParsedCode

SOURCE = b'"""Doc."""\nfrom modit.core import key\nimport numpy\n\ndef f():\n    from . import beside\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cache" / "parsed.json"


def facts(code, source=SOURCE):
    return code.imports(source, "modit.core"), code.hash(source), code.hash(source, docstrings=True)


def test_what_was_parsed_is_not_parsed_again_by_the_next_process(file, monkeypatch):
    first = ParsedCode(file)
    expected = facts(first)
    assert set(expected[0]) == {"modit.core", "modit.core.key", "numpy", "modit.core.beside"}
    first.save()
    monkeypatch.setattr(module, "ast", None)
    assert facts(ParsedCode(file)) == expected


def test_an_edited_source_is_parsed_again_and_comments_do_not_count(file):
    code = ParsedCode(file)
    assert code.hash(SOURCE) == code.hash(SOURCE + b"\n# more\n") == code.hash(SOURCE.replace(b"Doc.", b"Other."))
    assert code.hash(SOURCE) != code.hash(SOURCE + b"\nx = 1\n")
    assert code.hash(SOURCE, docstrings=True) != code.hash(SOURCE.replace(b"Doc.", b"Other."), docstrings=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rules": "other", "facts": {}}'])
def test_a_file_that_is_damaged_or_of_other_rules_is_made_anew(file, content):
    file.parent.mkdir()
    file.write_text(content)
    code = ParsedCode(file)
    assert facts(code) == facts(ParsedCode(file.with_name("none")))
    code.save()
    assert len(json.loads(file.read_text())["facts"]) == 3


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path):
    (tmp_path / "taken").write_text("a file")
    code = ParsedCode(tmp_path / "taken" / "parsed.json")
    assert facts(code)[0]
    code.save()
