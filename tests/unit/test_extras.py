"""Without an extra, modit says what to install instead of ending in a traceback; `import modit` needs none."""

from __future__ import annotations

import subprocess
import sys

import pytest

import modit
from modit.cli import main
from modit.core.errors import ConfigError
from modit.extras import SERVE, needing
from modit.steps import find_steps


@pytest.mark.parametrize(("name", "package", "extra"), [("load", "faiss", "serve"), ("train", "torch", "train")])
def test_a_missing_package_is_explained_by_the_extra_that_has_it(name, package, extra):
    code = f"import sys; sys.modules[{package!r}] = None; import modit; modit.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = f"modit.{name} needs {package}, which is not installed: pip install 'modit[{extra}]'"
    assert done.stderr.splitlines()[-1] == f"modit.core.errors.MissingExtraError: {said}"


def test_a_missing_module_of_modit_itself_is_no_missing_extra():
    with pytest.raises(ModuleNotFoundError, match="modit.nothing"), needing(SERVE, "modit.load"):
        import modit.nothing  # noqa: F401


def test_modit_alone_says_what_there_is_and_what_to_install(capsys):
    assert main([]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "demo-world" in said and "'modit[serve]' to answer" in said and "'modit[train]' to run the pipelines" in said


def test_a_command_whose_package_is_missing_says_what_to_install():
    # A process of its own: another test may have imported the service already, which then would start.
    code = (
        "import importlib.util, sys; from modit.cli import main; sys.modules['jwt'] = None; "
        "importlib.util.find_spec = lambda name: name; sys.exit(main(['serve', '--registry', 'sqlite:///nothing.db']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "modit: jwt is not installed; pip install 'modit[serve]'" in done.stderr


def test_a_package_that_hides_the_steps_is_named(monkeypatch, tmp_path):
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "__init__.py").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == "components"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=f"{tmp_path}/components hides modit's package"):
        find_steps()
    monkeypatch.delitem(sys.modules, "components")


def test_there_is_nothing_else_in_modit():
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        modit.fit  # noqa: B018
