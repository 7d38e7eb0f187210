"""What is served in less precision: only what the bundle has and the verdict offers, and every answer says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from modit.core.errors import ArtifactError
from modit.release.bundle.loading import ReleaseSource, load_release

WORDS = "int8 is not offered: on item-holdout Joint changes by -4.0 points"
OFFER = {"offered": True, "findings": [], "words": "int8 is offered: on item-holdout Joint changes by -0.1 points"}
REFUSAL = {"offered": False, "findings": [], "words": WORDS}


@pytest.fixture(scope="module")
def offering(make_bundle):
    return make_bundle(offers=OFFER)


def load(bundle, precision="int8"):
    return load_release(ReleaseSource.of(bundle.named("drama", 2)), precision=precision)


def test_an_offered_file_is_loaded_with_canaries_of_its_own(offering):
    release, whole = load(offering), load(offering, "float32")
    assert (release.precision, release.sampler.info.precision) == ("int8", "int8")
    assert (whole.precision, whole.sampler.info.precision) == ("float32", "float32")
    own = Path(offering.run) / "bundle" / "drama"
    assert (own / "canaries.json").read_bytes() != (own / "canaries.int8.json").read_bytes()


def test_a_precision_that_the_bundle_lacks_is_refused_by_name(bundle):
    with pytest.raises(ArtifactError, match="bundle of drama has no precision int8; it has float32"):
        load(bundle)


def test_a_precision_that_is_not_offered_is_refused_with_the_reason(make_bundle):
    refused = make_bundle(offers=REFUSAL)
    with pytest.raises(ArtifactError, match=f"the bundle of drama: {WORDS}"):
        load(refused)
    assert load(refused, "float32").precision == "float32"


def test_another_file_in_its_place_is_refused_by_name(make_bundle):
    bundle = make_bundle(offers=OFFER)
    folder = Path(bundle.run) / "sampler" / "drama"
    (folder / "sampler.onnx").replace(folder / "sampler.int8.onnx")
    with pytest.raises(ArtifactError, match=r"sampler(\.int8)?\.onnx"):
        load(bundle)
