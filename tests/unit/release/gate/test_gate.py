"""What the two keys ask: every finding turns at its threshold, whatever else holds."""

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.release.gate.champion import OTHER_SPACE, UNREADABLE, Champion
from modit.release.gate.gate import judge, overridden_thresholds
from modit.release.params import GateParams
from modit.release.verdict import verdict_text
from tests.unit.release.gateworld import (
    AVERAGE_GAIN,
    CHAMPION,
    CHAMPION_GAIN,
    FIRST,
    NOTHING,
    PARITY,
    a_slice,
    evidence,
    reasons_of,
    split,
    verdict_of,
)

SPLITS = ("item_holdout", "pattern_holdout")
WORDS = {"item_holdout": "item-holdout", "pattern_holdout": "pattern-holdout"}


def status_of(found, **params):
    return verdict_of(found, **params)["domains"][found.domain]["status"]


def test_a_first_run_is_held_to_absolute_thresholds_and_the_verdict_says_so():
    judged = verdict_of(evidence())["domains"]["drama"]
    assert (judged["status"], judged["champion"]) == ("PASS", None)
    assert judged["basis"] == "no champion: absolute thresholds"
    assert judged["words"].startswith(
        "may be promoted: on item-holdout the gain over averaging the seeds is +10.0 points, interval +8.0 to +12.0"
    )


def test_with_a_champion_the_gain_over_it_decides_and_the_verdict_names_it():
    judged = verdict_of(evidence(champion=CHAMPION))["domains"]["drama"]
    assert (judged["status"], judged["basis"]) == ("PASS", "champion modit-drama/3")
    assert (judged["champion"]["version"], judged["champion"]["model_digest"]) == (3, "d" * 64)
    assert set(judged["keys"]) == {"quality", "servability"}


def test_a_refusal_says_in_plain_words_which_gain_is_too_small():
    found = evidence(champion=CHAMPION, pattern_holdout=split(True, half=0.005, **{CHAMPION_GAIN: 0.003}))
    assert verdict_of(found)["domains"]["drama"]["words"] == (
        "not promoted: on pattern-holdout the gain over champion modit-drama/3 is +0.3 points, "
        "interval -0.2 to +0.8; needed: more than 1.5, and an interval above 0"
    )


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize(("champion", "comparison"), [(None, AVERAGE_GAIN), (CHAMPION, CHAMPION_GAIN)])
def test_a_gain_must_be_significant_on_both_splits(name, champion, comparison):
    def found(gain):
        given = {"champion": champion} if champion else {}
        return evidence(**given, **{name: split(bool(champion), **{comparison: gain})})

    assert status_of(found(0.021)) == "PASS"
    (reason,) = reasons_of(found(0.019))
    assert reason.startswith(f"on {WORDS[name]} the gain over") and "interval -0.1 to" in reason


def test_a_significant_gain_below_the_noise_floor_is_none():
    found = evidence(champion=CHAMPION, item_holdout=split(True, half=0.001, **{CHAMPION_GAIN: 0.02}))
    assert status_of(found, noise_floor=0.019) == "PASS"
    assert status_of(found, noise_floor=0.02) == "FAIL"


def test_where_no_gain_is_asked_for_a_significant_loss_still_fails():
    def found(gain):
        return evidence(champion=CHAMPION, pattern_holdout=split(True, **{CHAMPION_GAIN: gain}))

    assert status_of(found(-0.019), gain_splits=("item_holdout",)) == "PASS"
    assert status_of(found(-0.021), gain_splits=("item_holdout",)) == "FAIL"


@pytest.mark.parametrize("name", SPLITS)
def test_under_no_loss_an_equal_candidate_passes_and_one_that_may_lose_more_than_the_noise_floor_does_not(name):
    equal = {each: split(True, half=0.0, **{CHAMPION_GAIN: 0.0}) for each in SPLITS}

    def found(change):
        return evidence(champion=CHAMPION, **equal | {name: split(True, half=0.01, **{CHAMPION_GAIN: change})})

    assert status_of(found(-0.004), champion_rule="no_loss", noise_floor=0.015) == "PASS"
    with_less = verdict_of(found(-0.006), champion_rule="no_loss", noise_floor=0.015, gain_splits=SPLITS)
    assert with_less["domains"]["drama"]["reasons"] == [
        f"on {WORDS[name]} the change from champion modit-drama/3 is -0.6 points, interval -1.6 to +0.4; "
        "needed: an interval not below -1.5"
    ]


def test_loss_against_modit_fails_only_when_significant():
    assert status_of(evidence(pattern_holdout=split(**{"HPPO - MO-DiT": -0.019}))) == "PASS"
    (reason,) = reasons_of(evidence(pattern_holdout=split(**{"HPPO - MO-DiT": -0.021})))
    assert reason.startswith("on pattern-holdout it is significantly below MO-DiT: -2.1 points")


@pytest.mark.parametrize("champion", [None, CHAMPION])
def test_the_best_classical_row_counts_on_the_configured_splits_with_a_champion_too(champion):
    given = {"champion": champion} if champion else {}
    found = evidence(**given, pattern_holdout=split(bool(champion), **{"HPPO - best classical": -0.05}))
    assert status_of(found) == "PASS"
    (reason,) = reasons_of(found, classical_splits=SPLITS)
    assert reason.startswith("on pattern-holdout it is significantly below the best classical row (Rocchio)")


@pytest.mark.parametrize("champion", [None, CHAMPION])
def test_the_reranked_list_must_not_be_below_the_best_two_stage_row_which_the_finding_names(champion):
    given = {"champion": champion} if champion else {}
    found = evidence(**given, item_holdout=split(bool(champion), **{"HPPO + rerank - best two-stage": -0.05}))
    (reason,) = reasons_of(found)
    assert reason.startswith(
        "on item-holdout its reranked list is significantly below the best two-stage row (Rocchio + rerank): -5.0"
    )
    assert status_of(found, classical_splits=()) == "PASS"


@pytest.mark.parametrize("champion", [None, CHAMPION])
def test_same_below_its_floor_fails_with_a_champion_too_or_it_could_be_lost_little_by_little(champion):
    given = {"champion": champion} if champion else {}
    found = evidence(**given)
    assert status_of(found, pattern_same_floor=0.88) == "PASS"
    sentence = "on pattern-holdout Same of the served lists is 88.0 %, the floor 89.0 %"
    assert reasons_of(found, pattern_same_floor=0.89) == [sentence]


def test_same_may_fall_by_the_tolerance_at_the_low_end_of_the_interval_and_no_further():
    found = evidence(champion=CHAMPION, item_holdout=split(True, same=-0.01))
    assert status_of(found, same_tolerance=0.0151) == "PASS"
    (reason,) = reasons_of(found, same_tolerance=0.0149)
    assert reason == (
        "on item-holdout Same changes by -1.0 points, interval -1.5 to -0.5; the interval may not reach below -1.5"
    )


@pytest.mark.parametrize("figure", ["joint", "same"])
def test_a_slice_that_loses_for_sure_fails_though_the_split_gains(figure):
    def found(loss, cases=40):
        parts = split(True)
        parts["slices"][2] = a_slice("new items", cases, **{figure: loss})
        return evidence(champion=CHAMPION, item_holdout=parts)

    assert status_of(found(-0.039)) == "PASS"  # its interval reaches above the tolerance of 2 points
    (reason,) = reasons_of(found(-0.041))
    assert reason.startswith("on item-holdout, new items (40 cases) loses:")
    assert status_of(found(-0.041, cases=19)) == "PASS"  # too few cases to judge


def test_slices_of_a_first_run_are_shown_and_do_not_decide():
    parts = split()
    parts["slices"][1] = a_slice("tail patterns", 120, joint=-0.5)
    verdict = verdict_of(evidence(item_holdout=parts))
    assert verdict["status"] == "PASS"
    shown = verdict["domains"]["drama"]["splits"]["item_holdout"]["slices"]["tail patterns"]
    assert shown["joint"]["mean"] == -0.5


def few(part, patterns, *names):
    """A split whose cases have so few patterns that no interval can be resampled."""
    for entry in [*part["comparisons"], *(each["difference"] for each in part["slices"] if each["cases"])]:
        for figure in ("joint", "same"):
            entry[figure] |= {"patterns": patterns} | NOTHING
    return part


@pytest.mark.parametrize("champion", [FIRST, CHAMPION])
def test_a_split_of_few_patterns_neither_blocks_nor_decides_and_is_named(champion):
    ready = champion is CHAMPION
    losing = split(
        ready,
        **{AVERAGE_GAIN: -0.3, CHAMPION_GAIN: -0.3} if ready else {"HPPO - MO-DiT": -0.3},
    )
    judged = verdict_of(evidence(champion=champion, pattern_holdout=few(losing, 3)))["domains"]["drama"]
    assert judged["status"] == "PASS"
    undecided = [each for each in judged["keys"]["quality"]["findings"] if each["holds"] is None]
    assert undecided and all("too few patterns to tell (3)" in each["sentence"] for each in undecided)
    assert {each["name"].split()[0] for each in undecided} == {"pattern_holdout"}


@pytest.mark.parametrize("champion", [FIRST, CHAMPION])
def test_where_no_split_has_enough_patterns_nothing_passes_and_the_parameter_is_named(champion):
    ready = champion is CHAMPION
    found = evidence(champion=champion, item_holdout=few(split(ready), 4), pattern_holdout=few(split(ready), 2))
    assert reasons_of(found) == [
        "too few patterns to tell in every split: 4 patterns at most, at least 5 are needed "
        "(a higher assign_patterns.minimum, or a lower minimum_held_out or positives_per_pattern, yields more)"
    ]


def test_a_loss_on_the_split_that_can_tell_still_fails():
    losing = split(**{AVERAGE_GAIN: -0.1})
    found = evidence(item_holdout=losing, pattern_holdout=few(split(), 2))
    (reason,) = reasons_of(found)
    assert reason.startswith("on item-holdout the gain over averaging the seeds is -10.0 points")


def test_too_few_cases_or_none_fail_with_the_reason():
    small = split()
    small |= {"cases": 7, "slices": [a_slice("head patterns", 4), a_slice("tail patterns", 3), *small["slices"][2:]]}
    found = evidence(item_holdout=small, pattern_holdout={"cases": 0, "reason": "all patterns are small"})
    assert reasons_of(found) == [
        "on item-holdout 7 cases were judged, at least 20 are needed",
        "on pattern-holdout nothing was judged: all patterns are small",
    ]


@pytest.mark.parametrize("number", range(5))
def test_each_check_of_serving_is_a_key_that_fails_the_domain(number):
    found = evidence()
    checks = copy.deepcopy(found.servability["checks"])
    checks[number] |= {"holds": False, "sentence": "it is too slow"}
    checks = checks[:1] if number == 0 else checks
    judged = verdict_of(replace(found, servability=found.servability | {"checks": checks}))["domains"]["drama"]
    assert (judged["status"], judged["reasons"]) == ("FAIL", ["serving: it is too slow"])
    assert judged["keys"]["quality"]["holds"] and not judged["keys"]["servability"]["holds"]


@pytest.mark.parametrize("change", [{"greatest_difference": 0.2}, {"status": "failed"}])
def test_without_parity_nothing_passes(change):
    (reason,) = reasons_of(replace(evidence(), parity=PARITY | change))
    assert reason.startswith("serving: the file does not answer as torch does")


OTHER = Champion(OTHER_SPACE, "it takes embeddings of 64 numbers", "modit-drama", 3, "/runs/old", "d" * 64, "e" * 64)


def test_a_champion_of_another_space_refuses_unless_it_is_set_otherwise_and_the_basis_says_so():
    refused = verdict_of(evidence(champion=OTHER))["domains"]["drama"]
    assert (refused["status"], refused["basis"]) == ("FAIL", "champion modit-drama/3 cannot be compared: refused")
    assert "it takes embeddings of 64 numbers" in refused["words"]
    taken = verdict_of(evidence(champion=OTHER), incomparable="absolute")["domains"]["drama"]
    assert taken["status"] == "PASS" and taken["basis"].endswith("cannot be compared: absolute thresholds")


def test_an_unreadable_champion_refuses_whatever_is_set():
    found = evidence(champion=replace(OTHER, status=UNREADABLE, reason="its sampler is missing"))
    assert "its sampler is missing" in reasons_of(found, incomparable="absolute")[0]
    assert status_of(found, incomparable="absolute") == "FAIL"


def test_skipped_domain_is_shown_with_its_reason_and_does_not_decide():
    verdict = verdict_of(evidence(), skipped={"western": "12 positive items"})
    assert verdict["status"] == "PASS"
    western = verdict["domains"]["western"]
    assert (western["status"], western["words"]) == ("SKIPPED", "the domain was not trained: 12 positive items")


def test_run_without_a_judged_domain_fails():
    assert verdict_of(skipped={"western": "too few"})["status"] == "FAIL"


def test_one_failing_domain_fails_the_run():
    bad = evidence("crime", item_holdout=split(**{AVERAGE_GAIN: 0.0}))
    verdict = verdict_of(bad, evidence("drama"))
    assert [verdict["status"], *(d["status"] for d in verdict["domains"].values())] == ["FAIL", "FAIL", "PASS"]


def test_gate_changes_nothing_that_it_reads_and_its_verdict_is_json():
    found = [evidence(champion=CHAMPION), evidence("crime")]
    before = copy.deepcopy(found)
    json.dumps(judge(found, {}, GateParams()), allow_nan=False)
    assert found == before


def test_the_text_names_every_domain_its_figures_and_its_reasons():
    small = {"pattern_holdout": {"cases": 0, "reason": "small"}}
    found = [evidence("crime", **small), evidence(champion=CHAMPION)]
    verdict = judge(found, {"western": "too few"}, GateParams(), {"horror": "step finetune failed: out of memory"})
    assert verdict_text(verdict).splitlines() == [
        "crime    FAIL     no champion: absolute thresholds",
        "         - item-holdout: Joint@K 0.520, +10.0 points over Average pooling (+8.0 to +12.0); query alone 0.500",
        "         - not promoted: on pattern-holdout nothing was judged: small",
        "drama    PASS     champion modit-drama/3",
        "         - item-holdout: Joint@K 0.520, +3.0 points over Champion (+1.0 to +5.0); query alone 0.500",
        "         - pattern-holdout: Joint@K 0.520, +3.0 points over Champion (+1.0 to +5.0); query alone 0.500",
        "horror   FAILED   step finetune failed: out of memory",
        "western  SKIPPED  the domain was not trained: too few",
        "",
        "verdict: FAIL",
    ]


def test_a_terminal_gets_at_most_25_lines_and_the_file_gets_all():
    bad = split(**{AVERAGE_GAIN: -0.1, "HPPO - MO-DiT": -0.1, "HPPO - best classical": -0.1})
    verdict = verdict_of(*(evidence(f"domain{number}", item_holdout=bad) for number in range(9)))
    lines = verdict_text(verdict).splitlines()
    assert len(lines) == 25 and lines[-1] == "verdict: FAIL" and "more lines: verdict.txt of the run" in lines[-3]
    assert len(verdict_text(verdict, most=None).splitlines()) == 9 * 6 + 2


def test_a_domain_that_failed_fails_the_run_and_the_others_are_judged():
    verdict = judge([evidence()], {}, GateParams(), {"crime": "step finetune failed: loss is NaN"})
    assert verdict["status"] == "FAIL" and verdict["domains"]["drama"]["status"] == "PASS"
    assert verdict["domains"]["crime"]["reasons"] == ["step finetune failed: loss is NaN"]


gains = st.floats(-0.4, 0.4, allow_nan=False)
halves = st.floats(0.0, 0.2, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.tuples(gains, gains), halves, st.floats(0, 0.1), st.booleans())
def test_a_candidate_that_is_not_above_its_champion_never_passes(found, half, noise_floor, scarce):
    """Equal to it, or worse: whatever the intervals, the floor and the kind of interval are."""
    means = [-abs(gain) for gain in found]
    parts = {name: split(True, half=half, **{CHAMPION_GAIN: mean}) for name, mean in zip(SPLITS, means, strict=True)}
    if scarce:
        few(parts["pattern_holdout"], 3)
    assert status_of(evidence(champion=CHAMPION, **parts), noise_floor=noise_floor) == "FAIL"


@settings(max_examples=40, deadline=None)
@given(gains, halves)
def test_a_split_that_passes_has_a_gain_above_the_noise_floor(gain, half):
    part = split(True, half=half, **{CHAMPION_GAIN: gain})
    if status_of(evidence(champion=CHAMPION, item_holdout=part)) == "PASS":
        assert gain > GateParams().noise_floor and gain - half > 0


@settings(max_examples=20, deadline=None)
@given(st.permutations(["crime", "drama", "western", "quality"]), st.lists(st.booleans(), min_size=4, max_size=4))
def test_the_order_of_domains_changes_nothing(order, good):
    def found(name):
        bad = {} if good[len(name) % 4] else {"item_holdout": split(**{AVERAGE_GAIN: 0.0})}
        return evidence(name, **bad)

    assert verdict_of(*map(found, order)) == verdict_of(*map(found, sorted(order)))


def test_a_lower_noise_floor_or_a_wider_tolerance_never_refuses_what_a_stricter_gate_took():
    found = evidence(champion=CHAMPION, item_holdout=split(True, same=-0.01, half=0.004))
    taken = [
        status_of(found, noise_floor=floor, same_tolerance=tolerance) == "PASS"
        for floor, tolerance in ((0.05, 0.0), (0.02, 0.005), (0.01, 0.02), (0.0, 0.1))
    ]
    assert taken == sorted(taken) and taken[0] is False and taken[-1] is True


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"pretrain.steps": 10}, {}),
        ({"servability": {"p99_ms": 9}, "gate.noise_floor": 0}, {"gate.noise_floor": 0, "servability.p99_ms": 9}),
        ({"gate": {"classical_splits": []}}, {"gate.classical_splits": []}),
    ],
)
def test_those_of_the_gate_and_of_serving_are_named_however_they_are_written(overrides, found):
    assert list(overridden_thresholds(overrides).items()) == list(found.items())
