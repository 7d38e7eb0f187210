"""Worked examples of a bundle: which hold-out they come from, and what a bundle keeps."""

from __future__ import annotations

import pytest

from modit.core.errors import ArtifactError
from modit.inference.vote_file import WeightedMove
from modit.release.bundle.canaries import Canary
from modit.release.bundle.examples import EXAMPLES_FILE, WorkedExamples

MOVE = {"blend": "mean", "step": "density", "length": 0.3, "evidence": "", "evidence_weight": 0.0}


def worked(count: int, seeds: int = 3) -> dict:
    lists, joint = ({name: value for name in ("average", "simple", "served")} for value in (["a"], 0.5))
    example = {"percentile": 25, "seeds": [f"s{number}" for number in range(seeds)], "lists": lists, "joint": joint}
    row = {"name": "Fixed move + rerank", "move": MOVE}
    return {"worked_examples": {"patterns": count, "k": 5, "simple_row": row, "examples": [example] * count}}


@pytest.mark.parametrize(("patterns", "items", "split"), [(3, 3, "pattern_holdout"), (1, 3, "item_holdout")])
def test_examples_are_of_held_out_patterns_unless_held_out_items_give_more(patterns, items, split):
    evaluation = {"splits": {"pattern_holdout": worked(patterns), "item_holdout": worked(items)}}
    assert WorkedExamples.of_evaluation(evaluation, 8).split == split


def test_a_split_without_cases_gives_none_and_so_does_an_evaluation_of_an_earlier_version():
    skipped = {"cases": 0, "reason": "no case"}
    evaluation = {"splits": {"pattern_holdout": skipped, "item_holdout": worked(2)}}
    assert WorkedExamples.of_evaluation(evaluation, 8).patterns == 2
    assert WorkedExamples.of_evaluation({"splits": dict.fromkeys(evaluation["splits"], skipped)}, 8) is None


def test_what_is_saved_is_loaded_with_as_many_seeds_as_a_request_may_have(tmp_path):
    evaluation = {"splits": {"pattern_holdout": worked(3, seeds=9), "item_holdout": worked(1)}}
    examples = WorkedExamples.of_evaluation(evaluation, 3)
    examples.save(tmp_path)
    assert WorkedExamples.load(tmp_path, []) == examples
    assert examples.examples[0].seeds == ["s0", "s4", "s8"]
    assert examples.simple_row.first == "Fixed move"
    assert examples.simple_row.move == WeightedMove("mean", "density", 0.3, "", 0.0, 1.0)


def test_canary_queries_stand_in_for_a_bundle_without_examples_and_another_file_is_refused(tmp_path):
    canaries = [Canary([name], [1.0], [], []) for name in "abcd"]
    found = WorkedExamples.load(tmp_path, canaries)
    assert [each.seeds for each in found.examples] == [["a"], ["b"], ["c"]]
    assert found.simple_row is None and not found.examples[0].lists
    (tmp_path / EXAMPLES_FILE).write_text('{"split": "pattern_holdout"}')
    with pytest.raises(ArtifactError, match=r"examples\.json is not a WorkedExamples: it lacks"):
        WorkedExamples.load(tmp_path, canaries)
