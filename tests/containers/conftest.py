"""The container engine and the images; tests that need them are skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = os.environ.get("MODIT_BASE_IMAGE", "modit/base:bookworm")
TAG = "modit/{image}:test"


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check)


@pytest.fixture(scope="session")
def images() -> str:
    """Builds all images of this checkout, unless MODIT_TEST_IMAGES names some; their names as a pattern."""
    if not shutil.which("docker") or docker("info", check=False).returncode:
        pytest.skip("no container engine answers `docker info`")
    if given := os.environ.get("MODIT_TEST_IMAGES"):
        return given
    if docker("image", "inspect", BASE, check=False).returncode:
        if not shutil.which("debootstrap"):
            pytest.skip(f"no image {BASE} to build on, and no debootstrap to make one: set MODIT_BASE_IMAGE")
        subprocess.run(["make", "base-image"], cwd=ROOT, check=True)
    for arguments in (["wheels"], ["build", "--tag", TAG, "--base", BASE]):
        subprocess.run([sys.executable, "-m", "infra.images", *arguments], cwd=ROOT, check=True)
    return TAG
