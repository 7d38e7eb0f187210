"""For every test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# `import feast` switches prometheus_client to files that all registries of a process share, if it comes first.
import prometheus_client  # noqa: F401
import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from modit.export.sampler_parts import SamplerParts
    from modit.model.sampler import Sampler


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`made_once("name", write)`: a file that the first of the workers writes, for all of them to read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    folder.mkdir(exist_ok=True)

    def made(name: str, write: Callable[[Path], None]) -> Path:
        with FileLock(folder / f"{name}.lock"):
            path = folder / name.partition(".")[0] / name
            if not path.is_file():
                path.parent.mkdir(exist_ok=True)
                write(path)
        return path

    return made


@pytest.fixture(scope="session")
def sampler() -> Sampler:
    """A small torch sampler."""
    from tests.unit.samplers import build_sampler

    return build_sampler()


@pytest.fixture(scope="session")
def sampler_parts(made_once: Callable[[str, Callable[[Path], None]], Path]) -> SamplerParts:
    """The parts of its graph: translating them takes many seconds."""
    from modit.export.sampler_parts import PARTS_FILE, SamplerParts

    def write(path: Path) -> None:
        from tests.unit.samplers import build_sampler, translate

        translate(build_sampler()).save(path.parent)

    return SamplerParts.load(made_once(PARTS_FILE, write).parent)


@pytest.fixture(scope="session")
def sampler_file(made_once: Callable[[str, Callable[[Path], None]], Path], sampler_parts: SamplerParts) -> Path:
    """The same as a file, for tests that read it."""

    def write(path: Path) -> None:
        from modit.export.sampler import export_sampler
        from tests.unit.samplers import build_sampler, describe

        export_sampler(build_sampler(), sampler_parts, describe(), path)

    return made_once("sampler.onnx", write)


@pytest.fixture(scope="session")
def vote_file(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The vote of any moves, of the same size."""
    from modit.inference.vote_file import VOTE_FILE

    def write(path: Path) -> None:
        from modit.export.sampler import export_vote
        from tests.unit.samplers import DIMENSION, SEEDS

        export_vote(DIMENSION, SEEDS, path)

    return made_once(VOTE_FILE, write)
