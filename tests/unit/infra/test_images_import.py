"""What a step imports is in the image that runs it: an import of anything else would fail in a container alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from components.registry import REGISTRY
from infra.images import LOCKS

ROOT = Path(__file__).resolve().parents[3]
# Our own packages are copied into every image.
OURS = {"modit", "components", "pipelines", "infra", "dags", "feature_repo"}
IMPORT_AS_IN_THE_IMAGE = """
import importlib, json, sys
missing, modules = json.loads(sys.argv[1]), sys.argv[2:]
class NotInTheImage:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}: it is not in the image", name=name)
sys.meta_path.insert(0, NotInTheImage())
for module in modules:
    importlib.import_module(module)
"""


def not_in(image: str) -> list[str]:
    """Top-level modules of this environment that the image's lock does not install."""
    locked = {normalised(line.partition("=")[0]) for line in (LOCKS / f"{image}.txt").read_text().splitlines()}
    return sorted(
        module
        for module, packages in packages_distributions().items()
        if module not in OURS and not locked & {normalised(package) for package in packages}
    )


def normalised(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def import_in(image: str, *modules: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-c", IMPORT_AS_IN_THE_IMAGE, json.dumps(not_in(image)), *modules]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("image", sorted({step.image for step in REGISTRY.steps}))
def test_the_steps_of_an_image_import_nothing_that_it_lacks(image: str) -> None:
    modules = sorted({REGISTRY.run_module(step) for step in REGISTRY.steps if step.image == image})
    done = import_in(image, *modules)
    assert done.returncode == 0, done.stderr


def test_an_import_that_an_image_lacks_is_seen() -> None:
    done = import_in("train", "modit.export.sampler")
    assert done.returncode != 0
    assert "No module named 'onnx': it is not in the image" in done.stderr
