"""`run.json` holds what a run is about; a wrong conf is refused by field."""

from __future__ import annotations

import json

import pytest

from modit.core.errors import ConfigError
from modit.core.run_config import json_object, open_run
from modit.core.storage import Storage


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"catalogue": ""}, "--conf: field catalogue: ''"),
        (
            {"catalogue": "x", "preset": "huge"},
            "field preset: 'huge': Input should be 'tiny', 'quick', 'small', 'base' or 'paper'",
        ),
        ({"catalogue": "x", "sed": 1}, "field sed: 1: .*allowed fields: catalogue, domains, seed"),
        ({"catalogue": "x", "domains": "one"}, "field domains"),
        ({}, "field catalogue"),
    ],
)
def test_a_wrong_field_is_refused_by_name_and_nothing_is_written(tmp_path, conf, message):
    with pytest.raises(ConfigError, match=message):
        open_run(Storage(str(tmp_path / "run")), conf)
    assert not (tmp_path / "run").exists()


def test_without_conf_a_new_run_is_refused_with_how_to_start_it(tmp_path):
    with pytest.raises(ConfigError, match="run.json is missing; start the run with --conf"):
        open_run(Storage(str(tmp_path)), None)


def test_only_the_fields_given_must_agree(tmp_path):
    run = Storage(str(tmp_path))
    first = open_run(run, {"catalogue": str(tmp_path), "seed": 4, "domains": ["b", "a"]})
    assert open_run(run, {"catalogue": str(tmp_path)}) == first == open_run(run, None)
    assert json.loads((tmp_path / "run.json").read_text())["domains"] == ["a", "b"]


def test_a_relative_catalogue_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_run(Storage("run"), {"catalogue": "here"}).catalogue == str(tmp_path / "here")


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_conf_that_is_no_json_object_is_refused(text):
    with pytest.raises(ConfigError, match="--conf"):
        json_object(text)
