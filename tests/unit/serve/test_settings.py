"""A service that is started wrongly says in one line what to change."""

from __future__ import annotations

import json
import logging

import pytest

from modit.cli import main
from modit.core import machine
from modit.core.errors import ConfigError
from modit.serve.run import JsonFormatter
from modit.serve.settings import FEATURES_VARIABLE, LOG_VARIABLE, Settings, api_keys, chosen, registry_address


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": -1}, "--port is -1; allowed: 0..65535"),
        ({"threads": 0}, "--threads is 0; allowed: >= 1"),
        ({"reload_seconds": 0.0}, "--reload-seconds is 0.0"),
        ({"alias": ""}, "--alias is ''"),
        ({"root_path": "modit"}, "--root-path is 'modit'; allowed: a path such as /modit"),
        ({"root_path": "/modit/"}, "--root-path is '/modit/'"),
        ({"features_timeout_seconds": 0.0}, "--features-timeout-seconds is 0.0; allowed: more than 0"),
        ({"domains": ()}, r"--domains is \(\)"),
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 lets other machines ask: set MODIT_API_KEYS"),
        ({"host": "::"}, "--insecure"),
        ({"host": "retrieval.example"}, "--insecure"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(given, message):
    with pytest.raises(ConfigError, match=message):
        Settings("sqlite:////none", **given)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_may_ask_without_a_key(host):
    assert Settings("sqlite:////none", host=host).keys == ()


@pytest.mark.parametrize("given", [{"keys": ("one",)}, {"insecure": True}])
def test_others_may_ask_with_keys_or_by_order(given):
    assert Settings("sqlite:////none", host="0.0.0.0", **given).host == "0.0.0.0"


def test_keys_are_read_from_the_environment_and_never_printed(monkeypatch):
    monkeypatch.setenv("MODIT_API_KEYS", " one, two,,")
    assert api_keys() == ("one", "two")
    assert "'one'" not in repr(Settings("sqlite:////none", keys=api_keys()))
    monkeypatch.delenv("MODIT_API_KEYS")
    assert api_keys() == ()


def test_where_requests_are_logged_is_given_or_in_the_environment_and_an_empty_one_is_none(monkeypatch):
    monkeypatch.setenv("MODIT_LOG_REQUESTS", "s3://bucket/catalogue")
    assert chosen(None, LOG_VARIABLE) == "s3://bucket/catalogue"
    assert chosen("/folder", LOG_VARIABLE) == "/folder"
    monkeypatch.setenv("MODIT_LOG_REQUESTS", "")
    assert chosen(None, LOG_VARIABLE) is None


def test_seeds_come_from_the_store_that_is_given_or_in_the_environment(monkeypatch):
    monkeypatch.setenv("MODIT_FEATURES", "/stores/shop")
    assert (chosen(None, FEATURES_VARIABLE), chosen("/other", FEATURES_VARIABLE)) == ("/stores/shop", "/other")
    monkeypatch.setenv("MODIT_FEATURES", "")
    assert chosen(None, FEATURES_VARIABLE) is None


def test_threads_are_those_of_the_usable_cores(monkeypatch):
    monkeypatch.setattr(machine, "_quota", lambda: 1.0)
    assert Settings("sqlite:////none").threads == 1


def test_the_registry_is_given_or_in_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert registry_address(None) == "http://mlflow:5000"
    assert registry_address("sqlite:////a.db") == "sqlite:////a.db"


def test_the_command_without_a_registry_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["serve"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("modit: which registry?") and said.count("\n") == 1


def test_a_log_line_of_an_exception_is_one_line_of_json():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        found = (type(error), error, error.__traceback__)
    line = JsonFormatter().format(logging.LogRecord("a", logging.ERROR, "p", 1, "failed %s", ("x",), found))
    assert "\n" not in line and json.loads(line)["message"] == "failed x"
    assert "ValueError: two" in json.loads(line)["exception"]
