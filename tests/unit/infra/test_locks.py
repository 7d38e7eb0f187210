"""Each image has a target and a lock; the one with CUDA differs from the other by torch and what torch brings."""

import re
from pathlib import Path

import pytest

from infra.images import CUDA, LOCKS, PACKAGES, VARIANTS

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
