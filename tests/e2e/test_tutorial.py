"""The commands of the tutorial do what it says, from a clone to an answer of the service."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request

import pytest

from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.e2e
TUTORIAL = ROOT / "docs" / "tutorial"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository's files, with this environment as its `.venv`."""
    folder = tmp_path_factory.mktemp("clone")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["cp", "--parents", "-t", folder, *files.decode().split("\0")[:-1]], cwd=ROOT, check=True)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    for name in ("pyproject.toml", "infra/locks/run.txt"):  # older than `.venv/.ready`, so that nothing is installed
        subprocess.run(["touch", "--date=2000-01-01", folder / name], check=True)
    return folder


def run(command: str, folder, port: int) -> str:
    """Runs a block as the reader does, with another port and the sources of the copy."""
    command = command.replace("localhost:8000", f"localhost:{port}")
    command = re.sub(r"modit serve", f"modit serve --port {port}", command)
    command = re.sub(r"modit query", f"modit query --url http://localhost:{port}", command)
    prelude = f". .venv/bin/activate; export PYTHONPATH={folder}/src:{folder}; unset MLFLOW_TRACKING_URI MODIT_RUNS\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", prelude + command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the service ended"
        try:
            urllib.request.urlopen(f"http://localhost:{port}/readyz")
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the service is not ready after two minutes")


def test_the_first_tutorial_ends_with_an_answer(clone):
    port = free_port()
    *before, serve, query, ask = blocks(TUTORIAL / "first-run.md")
    assert serve.startswith("modit serve") and query.startswith("modit query") and ask.startswith("curl")
    printed = [run(block, clone, port) for block in before]
    assert any("PASS" in text or "FAIL" in text for text in printed)
    arguments = serve.split("modit serve ")[1].rstrip().rstrip("&").split()
    process = subprocess.Popen(
        [ROOT / ".venv/bin/python", "-m", "modit.cli", "serve", "--port", str(port), *arguments],
        cwd=clone,
        env={"PYTHONPATH": f"{clone}/src:{clone}", "PATH": "/usr/bin:/bin", "HOME": str(clone)},
    )
    try:
        wait_until_ready(port, process)
        assert "item-" in run(query, clone, port)
        answer = json.loads(run(ask, clone, port))
    finally:
        process.terminate()
        process.wait(30)
    ids = [item["item_id"] for item in answer["items"]]
    assert len(ids) == 5 and not {"item-00000000", "item-00000001"} & set(ids)


def test_the_second_tutorial_trains_on_a_catalogue_from_csv(clone):
    page = (TUTORIAL / "your-catalogue.md").read_text()
    (script,) = re.findall(r"```python\n# make_shop.py\n(.*?)```", page, re.DOTALL)
    (mapping,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (clone / "make_shop.py").write_text(script)
    make, check, train = blocks(TUTORIAL / "your-catalogue.md")
    run(make, clone, 0)
    (clone / "runs/my-shop/mapping.yaml").write_text(mapping)
    run(check, clone, 0)
    assert "on_offer" in run(train, clone, 0)
