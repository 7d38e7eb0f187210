"""Ways to get a sampler through the gate that is not the better one. Each is tried; none succeeds."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from modit.core.errors import ArtifactError
from modit.release.documents import read_strictly
from modit.release.gate.champion import OTHER_SPACE, UNREADABLE
from modit.release.gate.gate import judge
from modit.release.params import GateParams, ServabilityParams
from tests.unit.release.gateworld import (
    AVERAGE_GAIN,
    CHAMPION,
    CHAMPION_GAIN,
    FIRST,
    a_slice,
    evidence,
    split,
    verdict_of,
)


def edited(champion=CHAMPION, **splits):
    """A domain whose evaluation was edited."""
    return evidence(champion=champion, **splits)


def refused(found, message, **params):
    with pytest.raises(ArtifactError, match=message):
        judge([found], {}, GateParams(**params))


def test_attack_figures_are_edited():
    """One mean is raised in evaluation.json -> it contradicts the rows that it is the difference of."""
    part = split(True)
    part["rows"][0]["joint"] = 0.99
    refused(edited(item_holdout=part), "the mean difference is 0.03, that of the rows 0.52")


def test_attack_evaluation_is_of_another_run():
    """An old, better evaluation takes the place of tonight's -> it names another candidate."""
    found = evidence(champion=CHAMPION)
    found.measured["candidate"] = "f" * 64
    refused(found, "domain drama, evaluation.json: candidate is ffff.*not of one run")


def test_attack_another_readout_is_exported_than_was_judged():
    """The network's share is edited before the export -> the readout of the evaluation is not the candidate's."""
    found = evidence(champion=CHAMPION)
    found.sampler["readout_digest"] = "f" * 64
    refused(found, "domain drama, evaluation.json: candidate_readout is 9999.*ffff.*not of one run")


def test_attack_evaluation_was_made_on_another_index():
    """The candidate was judged on an easier catalogue -> the index of the evaluation is not the candidate's."""
    found = evidence()
    found.measured["catalog"] = {"index_digest": "f" * 64}
    refused(found, "index_digest is ffff")


def test_attack_an_interval_is_brought_though_there_are_too_few_patterns():
    """An interval over three patterns is written by hand -> an interval needs five patterns, refused by name."""
    part = split(True)
    part["comparisons"][3]["joint"]["patterns"] = 3
    refused(edited(item_holdout=part), "over 3 patterns is not possible")


def test_attack_figures_are_nan():
    """Joint is NaN, which no comparison holds against -> not a finite number, refused by name."""
    for value in (math.nan, math.inf, None, "0.9", True):
        part = split(True)
        part["comparisons"][3]["joint"]["pattern_low"] = value
        refused(edited(item_holdout=part), r"comparisons, HPPO \+ rerank - Champion, joint(, pattern_low)?: ")


def test_attack_file_holds_nan(tmp_path):
    """report.json holds NaN or Infinity, which Python reads -> the gate's reader does not."""
    for word in ("NaN", "-Infinity"):
        (tmp_path / "report.json").write_text(f'{{"joint": {word}}}')
        with pytest.raises(ArtifactError, match=f"report.json: {word} is not a number in JSON"):
            read_strictly(tmp_path / "report.json")


def test_attack_field_stands_twice(tmp_path):
    """A domain stands twice in report.json, the good one last, which Python keeps -> the gate's reader refuses it."""
    (tmp_path / "report.json").write_text('{"domains": {"drama": {"joint": 0.1}, "drama": {"joint": 0.9}}}')
    with pytest.raises(ArtifactError, match="drama occurs twice in one object"):
        read_strictly(tmp_path / "report.json")


def test_attack_domain_is_judged_twice():
    """A domain is brought twice, good and bad, or as skipped too -> the gate names it."""
    bad = evidence(item_holdout=split(**{AVERAGE_GAIN: 0.0}))
    for found, skipped in (([bad, evidence()], {}), ([evidence()], {"drama": "too few"})):
        with pytest.raises(ArtifactError, match="domains that the gate got twice: drama"):
            judge(found, skipped, GateParams())


def test_attack_row_stands_twice():
    """A second, better row HPPO is put into the report -> rows of one name are refused."""
    part = split(True)
    part["rows"].append({"name": "HPPO", "joint": 0.99, "same": 0.99})
    refused(edited(item_holdout=part), "row HPPO occurs twice")


def test_attack_no_case_was_judged():
    """Both splits say that there was nothing to judge -> that fails, it is not a pass."""
    empty = {"cases": 0, "reason": "all patterns are small"}
    verdict = verdict_of(evidence(item_holdout=dict(empty), pattern_holdout=dict(empty)))
    assert verdict["status"] == "FAIL"


def test_attack_split_is_left_out():
    """The split with the loss is taken out of the report -> it is missing, by name."""
    found = evidence(champion=CHAMPION)
    del found.measured["splits"]["pattern_holdout"]
    refused(found, "no split pattern_holdout, which the gate must read")


def test_attack_comparison_with_the_champion_is_left_out():
    """The comparison that is lost is taken out -> it is missing, by name."""
    part = split(True)
    part["comparisons"] = [entry for entry in part["comparisons"] if entry["name"] != CHAMPION_GAIN]
    refused(edited(item_holdout=part), r"no comparison HPPO \+ rerank - Champion, which the gate must read")


def test_attack_slice_is_hidden():
    """The slice that loses is taken out -> every slice must be there, with its figures or a reason."""
    part = split(True)
    part["slices"] = [entry for entry in part["slices"] if entry["name"] != "tail patterns"]
    refused(edited(item_holdout=part), "no slice tail patterns, which the gate must read")


def test_attack_slice_is_emptied():
    """The slice that loses is said to have no case -> head and tail must have all cases of the split."""
    part = split(True)
    part["slices"][1] = a_slice("tail patterns", 0)
    refused(edited(item_holdout=part), "head patterns and tail patterns have 180 cases, the split has 300")


def test_attack_slices_are_compared_with_an_easier_row():
    """Slices are compared with average pooling though there is a champion -> the row is named and refused."""
    refused(edited(item_holdout=split(True) | {"slices_against": "Average pooling"}), "allowed here: 'Champion'")


def test_attack_champion_is_swapped_for_a_weaker_one():
    """The evaluation compared with another sampler than the champion that was fetched -> their digests differ."""
    found = replace(evidence(champion=CHAMPION), champion=replace(CHAMPION, model_digest="f" * 64))
    refused(found, "domain drama, evaluation.json: champion is .*not of one run")


def test_attack_champion_is_denied():
    """The evaluation is made without the champion, for the softer thresholds of a first run -> facts differ."""
    refused(replace(evidence(champion=FIRST), champion=CHAMPION), "champion is .*not of one run")


def test_attack_champion_is_made_unreadable():
    """The champion's files are damaged so that nothing can be compared with it -> unreadable is not "none": FAIL."""
    lost = replace(CHAMPION, status=UNREADABLE, reason="sampler.onnx is damaged")
    assert verdict_of(evidence(champion=lost), incomparable="absolute")["status"] == "FAIL"


def test_attack_embeddings_are_changed_to_lose_the_champion():
    """Another embedding space makes the champion incomparable -> FAIL, unless the run's parameters say otherwise."""
    other = replace(CHAMPION, status=OTHER_SPACE, reason="other embeddings")
    assert verdict_of(evidence(champion=other))["status"] == "FAIL"


def test_attack_candidate_is_of_a_part_of_the_catalogue():
    """Trained and judged on the items where it is the better one, the rest is left out -> lost items are a finding."""
    fifth, hidden = (replace(CHAMPION, lost_items=share) for share in (0.2, None))
    [reason] = verdict_of(evidence(champion=fifth))["domains"]["drama"]["reasons"]
    assert reason.startswith("20.0 % of the items of champion modit-drama/3 are not in the candidate's catalogue")
    refused(evidence(champion=hidden), "lost_items is None; allowed: 0 to 1")


def test_attack_servability_of_another_bundle():
    """The trial of a faster sampler, or on a smaller index, is brought -> its digests are not the candidate's."""
    for name in ("sampler_digest", "index_digest"):
        found = evidence()
        other = replace(found, servability=found.servability | {name: "f" * 64})
        refused(other, f"domain drama, servability.json: {name} is ffff")


def test_attack_check_of_serving_is_left_out():
    """The check that fails is taken out, or another stands twice -> the gate wants each once."""
    found = evidence()
    checks = found.servability["checks"]
    for others in (checks[:-1], [*checks, checks[0]], [], [*checks[:-1], checks[0]]):
        refused(replace(found, servability=found.servability | {"checks": others}), "the gate must read loads")


def test_attack_check_says_something_that_is_true_in_python():
    """A check holds "false", a text, which Python takes for true -> only true and false are answers."""
    found = evidence()
    for value in ("false", 1, None, [0]):
        checks = [found.servability["checks"][0] | {"holds": value}, *found.servability["checks"][1:]]
        refused(replace(found, servability=found.servability | {"checks": checks}), "is not a Check: holds")


def test_attack_parity_brings_its_own_tolerance():
    """parity.json says that a difference of a half is allowed, or leaves it out -> the limit is the gate's own."""
    found = evidence()
    loose = replace(found, parity=found.parity | {"greatest_difference": 0.5, "tolerance": 1.0})
    assert verdict_of(loose)["status"] == "FAIL"
    for value in (None, math.nan, -1.0):
        refused(replace(found, parity=found.parity | {"greatest_difference": value}), "greatest_difference is")


def test_attack_budgets_or_thresholds_are_no_limits():
    """Budgets of nothing, of infinity, or thresholds below zero -> the parameters refuse them."""
    for field, value in (
        ("p99_ms", 0),
        ("p99_ms", math.inf),
        ("memory_mb", -1),
        ("queries", 0),
        ("memory_mb", math.nan),
    ):
        with pytest.raises(ValidationError, match=field):
            ServabilityParams(**{field: value})
    for field, value in (
        ("noise_floor", -0.1),
        ("same_tolerance", math.nan),
        ("minimum_cases", 0),
        ("gain_splits", ()),
    ):
        with pytest.raises(ValidationError, match=field):
            GateParams(**{field: value})


def test_attack_candidate_is_the_champion():
    """The champion's own sampler is brought again -> no difference is no gain."""
    same = {name: split(True, half=0.0, **{CHAMPION_GAIN: 0.0}) for name in ("item_holdout", "pattern_holdout")}
    assert verdict_of(evidence(champion=CHAMPION, **same), noise_floor=0.0)["status"] == "FAIL"


def test_attack_verdict_takes_what_it_read_with_it():
    """What was read is changed after the verdict -> the verdict has its own copy of every figure."""
    found = evidence(champion=CHAMPION)
    verdict = judge([found], {}, GateParams())
    before = json.dumps(copy.deepcopy(verdict), sort_keys=True)
    found.measured["splits"].clear()
    found.servability["checks"].clear()
    assert json.dumps(verdict, sort_keys=True) == before
