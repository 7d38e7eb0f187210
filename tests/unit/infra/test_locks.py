"""Each image has a target and a lock; the one with CUDA differs from the other by torch and what torch brings."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.images import CUDA, LOCKS, PACKAGES, RUN, VARIANTS

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()


def pins(image: str) -> dict[str, str]:
    lines = [line for line in (LOCKS / f"{image}.txt").read_text().splitlines() if not line.startswith("#")]
    return dict(re.split("={2,3}", line) for line in lines)


@pytest.mark.parametrize("image", [*PACKAGES, *VARIANTS])
def test_an_image_has_a_target_that_installs_its_lock(image):
    assert re.search(rf"^FROM \w+ AS {image}$", DOCKERFILE, re.MULTILINE)
    assert f"FROM build AS {image}-packages\nCOPY infra/locks/{image}.txt /lock.txt\n" in DOCKERFILE
    assert pins(image)


@pytest.mark.parametrize(("plain", "cuda"), CUDA.items())
def test_the_variant_with_cuda_differs_by_torch_and_what_it_brings(plain, cuda):
    without, having = pins(plain), pins(cuda)
    assert without.pop("torch").partition("+")[0] == having.pop("torch")
    brought = {name for name in having if re.match("nvidia-|cuda-|triton", name)}
    assert {name: having[name] for name in having if name not in brought} == without
    assert {"nvidia-nccl-cu13", "nvidia-cudnn-cu13", "cuda-toolkit"} <= brought


def test_torch_is_pinned_so_that_no_other_build_of_it_will_do():
    for image in ("train", "train-cuda", "release"):
        assert re.search("^torch===", (LOCKS / f"{image}.txt").read_text(), re.MULTILINE)


def test_what_a_run_installs_has_the_versions_of_constraints_and_all_that_its_extras_ask_for_but_torch():
    locked = {canonicalize_name(name): version for name, version in pins("run").items()}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    known = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert locked.items() <= known.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted, open_extras = list(project["dependencies"]), set(re.findall(r"[\w-]+", RUN[0].removeprefix(".")))
    done: set[str] = set()
    while open_extras - done:
        extra = (open_extras - done).pop()
        done.add(extra)
        for text in extras[extra]:
            requirement = Requirement(text)
            if requirement.name == "modit":
                open_extras |= requirement.extras
            else:
                wanted.append(text)
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name == "torch" or requirement.specifier.contains(locked[name]), requirement
