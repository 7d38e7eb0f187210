"""A file of less precision is offered only where nobody can say that it loses more than another seed would."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ArtifactError
from modit.release.gate.precision import offer
from modit.release.params import GateParams
from modit.release.verdict import judged_in_words
from tests.unit.release.gateworld import GOOD_TRIAL, SAMPLER, evidence, rounded, split, verdict_of

SPLITS = ("item_holdout", "pattern_holdout")
DIGEST = {"int8_digest": "8" * 64}


def with_int8(trial=GOOD_TRIAL, **changes):
    """A domain that passes and has such a file; `changes` of a split's figures."""
    found = evidence()
    for name in SPLITS:
        of = found.content["splits"][name]
        of["precisions"] = {"int8": rounded(of, **changes.get(name, {}))}
    found.content.update(DIGEST)
    served = found.servability | DIGEST | {"precisions": {"int8": trial}}
    return replace(found, sampler=SAMPLER | DIGEST, servability=served)


def offered(found, **params):
    return verdict_of(found, **params)["domains"]["drama"]["precisions"]["int8"]


def test_a_domain_without_such_a_file_has_no_offer():
    assert verdict_of(evidence())["domains"]["drama"]["precisions"] == {}


def test_it_is_offered_with_its_figures_and_the_verdict_says_so_in_words():
    judged = verdict_of(with_int8())["domains"]["drama"]
    found = judged["precisions"]["int8"]
    assert found["offered"] and judged_in_words(judged)[-1] == found["words"]
    assert found["words"] == (
        "int8 is offered: on item-holdout Joint changes by -0.1 points, interval -0.3 to +0.1; it may fall by less "
        "than 1.5; on pattern-holdout Joint changes by -0.1 points, interval -0.3 to +0.1; it may fall by less than 1.5"
    )
    numbers = {each["name"]: each["numbers"] for each in found["findings"]}
    assert numbers["item_holdout Joint@K"] == {"mean": -0.001, "low": -0.003, "high": 0.001, "noise_floor": 0.015}


@pytest.mark.parametrize("name", SPLITS)
def test_the_low_end_of_the_interval_must_be_above_the_floor_in_every_split(name):
    inside, outside = ({name: {"joint": mean, "half": 0.01}} for mean in (-0.0049, -0.0051))
    assert offered(with_int8(**inside))["offered"]
    refused = offered(with_int8(**outside))
    assert not refused["offered"] and refused["words"].startswith(
        f"int8 is not offered: on {name.replace('_', '-')} Joint changes by -0.5 points, interval -1.5 to +0.5"
    )
    assert offered(with_int8(**outside), noise_floor=0.02)["offered"]


def test_neither_may_same_be_lost():
    lost = offered(with_int8(item_holdout={"same": -0.03, "half": 0.002}))
    assert not lost["offered"] and "Same changes by -3.0 points" in lost["words"]


def test_intervals_over_patterns_are_taken_where_the_gate_takes_them():
    assert not offered(with_int8(item_holdout={"half": 0.01}), interval="patterns")["offered"]


@settings(max_examples=60)
@given(
    joint=st.floats(-0.2, 0.2),
    half=st.floats(0, 0.2),
    floor=st.floats(0, 0.3),
    cases=st.integers(0, 100),
    needed=st.integers(1, 100),
)
def test_nothing_is_offered_outside_of_the_floor_or_on_too_few_cases(joint, half, floor, cases, needed):
    of = split() | {"cases": cases}
    of["precisions"] = {"int8": rounded(of, joint=joint, half=half)}
    params = GateParams(noise_floor=floor, minimum_cases=needed)
    found = offer("int8", "drama", dict.fromkeys(SPLITS, of), [], params)
    assert found["offered"] == (cases >= needed and joint - half > -floor and -half >= -params.same_tolerance)


def test_a_split_that_was_not_judged_offers_nothing():
    found = with_int8()
    found.content["splits"]["item_holdout"] = {"cases": 0, "reason": "no item_validation case"}
    refused = offered(found)
    assert not refused["offered"] and "on item-holdout 0 cases were judged, at least 20 are needed" in refused["words"]


def test_a_file_that_cannot_be_served_is_not_offered_and_the_status_is_that_of_float32():
    trial = [{"name": "loads", "holds": False, "sentence": "int8 cannot be served: it is missing"}]
    judged = verdict_of(with_int8(trial))["domains"]["drama"]
    assert judged["status"] == "PASS" and not judged["precisions"]["int8"]["offered"]
    assert judged["precisions"]["int8"]["words"] == "int8 is not offered: serving: int8 cannot be served: it is missing"


@pytest.mark.parametrize("trial", [[], GOOD_TRIAL[:2], GOOD_TRIAL[::-1]])
def test_a_trial_with_a_check_left_out_is_refused(trial):
    with pytest.raises(ArtifactError, match="the gate must read loads, lists, latency"):
        verdict_of(with_int8(trial))


def test_figures_of_another_file_are_refused_by_name():
    for part, file in (("content", "evaluation.json"), ("servability", "servability.json")):
        found = with_int8()
        getattr(found, part)["int8_digest"] = "9" * 64
        with pytest.raises(ArtifactError, match=f"{file}: int8_digest is 9+; the candidate's int8_digest is 8+"):
            verdict_of(found)


def test_figures_that_contradict_each_other_or_are_missing_are_refused():
    edited = with_int8()
    edited.content["splits"]["item_holdout"]["precisions"]["int8"]["joint"] += 0.01
    with pytest.raises(ArtifactError, match="int8, joint: the mean difference is -0.001, that of the rows 0.009"):
        verdict_of(edited)
    del edited.content["splits"]["item_holdout"]["precisions"]
    with pytest.raises(ArtifactError, match="split item_holdout, int8: no figures, though there is such a file"):
        verdict_of(edited)
