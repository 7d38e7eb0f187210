"""What is served in less precision: only what the bundle has and the verdict offers, and every answer says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from modit.client import Answer
from modit.core.errors import ArtifactError, ConfigError
from modit.release.bundle.loading import ReleaseSource, load_release
from modit.serve.settings import Settings, chosen_precision
from tests.unit.serve.conftest import running

WORDS = "int8 is not offered: on item-holdout Joint changes by -4.0 points"
OFFER = {"offered": True, "findings": [], "words": "int8 is offered: on item-holdout Joint changes by -0.1 points"}
REFUSAL = {"offered": False, "findings": [], "words": WORDS}
ASKED = {"domain": "drama", "seeds": {"item_ids": ["item-1", "item-2"]}, "return_query": True}


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


def test_the_service_answers_in_int8_and_says_so(offering):
    with running(lambda: [offering.named("drama", 2)], precision="int8") as client:
        answer = client.post("/v1/retrieve", json=ASKED).json()
        assert answer["precision"] == "int8" and Answer.of(answer).precision == "int8"
        assert client.get("/readyz").json()["releases"]["drama"]["precision"] == "int8"
        assert 'precision="int8"' in client.get("/metrics").text
        many = client.post("/v1/retrieve/batch", json={"requests": [ASKED, ASKED]}).json()["answers"]
        assert many == [answer, answer]
    with running(lambda: [offering.named("drama", 2)]) as client:
        whole = client.post("/v1/retrieve", json=ASKED).json()
        assert whole["precision"] == "float32" and whole["query"] != answer["query"]


def test_a_service_of_int8_that_is_not_offered_is_not_ready_and_says_why(make_bundle):
    refused = make_bundle(offers=REFUSAL)
    with running(lambda: [refused.named("drama", 2)], ready=False, precision="int8") as client:
        for _ in range(200):
            found = client.get("/readyz")
            if "drama" in found.json()["problems"]:
                break
        assert found.status_code == 503 and WORDS in found.json()["problems"]["drama"]


def test_the_option_goes_before_the_variable_and_float32_is_the_default(monkeypatch):
    monkeypatch.delenv("MODIT_PRECISION", raising=False)
    assert chosen_precision(None) == "float32"
    monkeypatch.setenv("MODIT_PRECISION", "int8")
    assert (chosen_precision(None), chosen_precision("float32")) == ("int8", "float32")
    with pytest.raises(ConfigError, match="--precision is 'fp16'; allowed: float32 or int8"):
        Settings(registry="unused", precision=chosen_precision("fp16"))
