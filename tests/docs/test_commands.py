"""Commands in the documentation exist, with the options and targets that they name."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
from functools import cache

import pytest

from components.registry import REGISTRY
from modit.cli import build_parser
from modit.core.command import _parser
from tests.docs.pages import ROOT, Command, commands, inline_code

# Programs of others. Their own documentation says what they take; a new one is added here on purpose.
OTHERS = {
    ".", "airflow", "base64", "cd", "curl", "docker", "dvc", "feast", "git", "grep", "kill", "kubectl", "mlflow", "pip",
    "pre-commit",
}  # fmt: skip
ALL = sorted(set(commands()))


def named(command: Command) -> str:
    return f"{command.page}: {' '.join(command.words)[:60]}"


def program(command: Command) -> str:
    return command.words[0].removeprefix(".venv/bin/")


@cache
def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def parse_modit(arguments: tuple[str, ...]) -> None:
    parser = build_parser()
    parser.exit_on_error = False
    parser.parse_args(arguments)


def check_module(name: str, arguments: tuple[str, ...]) -> None:
    if name == "components":
        _parser(REGISTRY).parse_args(arguments)
        return
    if name == "modit.cli":
        parse_modit(arguments)
        return
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin, f"no module {name}"
    source = "".join(path.read_text() for path in _sources(spec.origin))
    for option in options_of(arguments):
        assert f'"{option}"' in source, f"{name} has no option {option}"


def _sources(origin: str) -> list:
    from pathlib import Path

    path = Path(origin)
    main = path.with_name("__main__.py") if path.name == "__init__.py" else path
    return sorted({*main.parent.glob("*.py")}) if main.name == "__main__.py" else [main]


def options_of(arguments: tuple[str, ...]) -> list[str]:
    return [word.partition("=")[0] for word in arguments if re.match(r"--[a-z]", word)]


def check_script(path: str, arguments: tuple[str, ...]) -> None:
    assert (ROOT / path).is_file() or "/" not in path, f"no file {path}"
    if (ROOT / path).is_file():
        for option in options_of(arguments):
            assert f'"{option}"' in (ROOT / path).read_text(), f"{path} has no option {option}"


def check_make(arguments: tuple[str, ...]) -> None:
    for word in arguments:
        if "=" in word:
            name = word.partition("=")[0]
            assert re.search(rf"^{name} \?=|\$\({name}\)", makefile(), re.MULTILINE), f"make knows no {name}"
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_files(command: Command) -> None:
    """Files of the repository that a command of others names exist."""
    for word in command.words[1:]:
        if re.match(r"(infra|pipelines|components)/", word) and "overlays/site" not in word and "/.env" not in word:
            assert (ROOT / word).exists(), f"no {word}"


@pytest.mark.parametrize("command", ALL, ids=named)
def test_a_command_exists_with_its_arguments(command):
    name, arguments = program(command), command.words[1:]
    if name == "torchrun":
        name, arguments = "python", ("-m", *arguments[arguments.index("--") + 1 :])
    try:
        if name == "modit":
            parse_modit(arguments)
        elif name.startswith("python") and arguments[0] == "-m":
            check_module(arguments[1], arguments[2:])
        elif name.startswith("python") and arguments[0] != "-c":
            check_script(arguments[0], arguments[1:])
        elif name == "make":
            check_make(arguments)
        elif not name.startswith("python"):
            assert name in OTHERS, f"{name} is neither a command of the project nor in OTHERS"
            check_files(command)
    except (SystemExit, argparse.ArgumentError) as error:
        pytest.fail(f"{command.page}: {' '.join(command.words)}: {error}")


def subparser(words: tuple[str, ...]) -> argparse.ArgumentParser:
    """The parser of the command that some words begin with."""
    parser = build_parser()
    for word in words:
        choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not choices:
            break
        assert word in choices[0], f"modit has no command {word}"
        parser = choices[0][word]
    return parser


@pytest.mark.parametrize(
    "command",
    sorted({each for each in inline_code() if re.match(r"[a-z]", each.words[1]) and "/adr/" not in each.page}),
    ids=named,
)
def test_a_command_in_a_sentence_exists_with_its_options(command):
    parser = subparser(command.words[1:])
    known = {option for action in parser._actions for option in action.option_strings}
    assert set(options_of(command.words)) <= known


def test_the_documentation_has_commands_of_every_kind():
    programs = {program(command) for command in ALL}
    assert len(ALL) > 100 and {"modit", "make", "python", "torchrun", "kubectl"} <= programs


@pytest.mark.parametrize(
    "words",
    [("modit", "demo-wold"), ("modit", "serve", "--no-such"), ("make", "no-such"), ("python", "-m", "no.such"),
     ("make", "run", "NO_SUCH=1"), ("python", "-m", "components", "no_such", "--run", "a"), ("no-such",)],
)  # fmt: skip
def test_a_wrong_command_is_seen(words):
    with pytest.raises((AssertionError, pytest.fail.Exception, ModuleNotFoundError)):
        test_a_command_exists_with_its_arguments(Command("page.md", words))
