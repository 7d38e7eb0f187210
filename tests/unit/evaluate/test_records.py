"""What the stages before noted is read whole or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modit.core.errors import ArtifactError
from modit.evaluate.records import read_records, round_guidance


def _stage(folder: Path, curve: object, **files: object) -> Path:
    folder.mkdir()
    (folder / "curve.json").write_text(json.dumps(curve))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def predictor(tmp_path: Path) -> Path:
    return _stage(tmp_path / "predictor", [], validation=[{"split": "item"}])


@pytest.fixture
def finetuned(tmp_path: Path) -> Path:
    return _stage(tmp_path / "finetuned", [], blends=[{"share": 1.0}, {"share": 0.5}])


def test_what_the_stages_noted_is_collected(tmp_path: Path, finetuned: Path, predictor: Path) -> None:
    stage = _stage(tmp_path / "pretrained", [{"step": 1, "loss": 2.0, "gradient": 9.0}])
    first = _stage(tmp_path / "hppo_1", [{"step": 1, "loss": 0.7}], rounds={"rounds": [{"round": 0}], "stopped": False})
    last = _stage(tmp_path / "hppo_2", [], rounds={"rounds": [{"round": 0}, {"round": 1}], "stopped": True})
    records = read_records({"pretrained": stage}, finetuned, [first, last], predictor)
    assert records["training"] == {
        "pretrained": [{"step": 1, "loss": 2.0}],
        "finetuned": [],
        "hppo_1": [{"step": 1, "loss": 0.7}],
        "hppo_2": [],
    }
    assert records["blends"] == [{"share": 1.0}, {"share": 0.5}]
    assert records["rounds"] == [{"round": 0}, {"round": 1}]
    assert records["predictor"] == [{"split": "item"}]


def test_a_curve_without_a_loss_is_refused(tmp_path: Path, finetuned: Path, predictor: Path) -> None:
    stage = _stage(tmp_path / "pretrained", [{"step": 1}])
    with pytest.raises(ArtifactError, match=r"pretrained/curve.json: entry 0 has fields \['step'\]; needed"):
        read_records({"pretrained": stage}, finetuned, [], predictor)


def test_a_missing_curve_is_named(tmp_path: Path, finetuned: Path, predictor: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere/curve.json is missing"):
        read_records({"pretrained": tmp_path / "nowhere"}, finetuned, [], predictor)


def test_rounds_that_are_no_list_are_refused(tmp_path: Path, finetuned: Path, predictor: Path) -> None:
    last = _stage(tmp_path / "hppo_1", [], rounds={"stopped": True})
    with pytest.raises(ArtifactError, match="has no field rounds with a list of records"):
        read_records({}, finetuned, [last], predictor)


def test_guidance_is_that_of_round_0_and_of_the_last_kept_round() -> None:
    rounds = [
        {"round": 0, "kept": True, "guidance": 1.5},
        {"round": 1, "kept": True, "guidance": 2.0},
        {"round": 2, "kept": False, "guidance": 3.0},
        {"round": 3, "kept": False, "skipped": "the chain had ended"},
    ]
    assert round_guidance(rounds) == (1.5, 2.0)
    assert round_guidance(rounds[:1]) == (1.5, 1.5)


@pytest.mark.parametrize("rounds", [[], [{"round": 0, "kept": True}]])
def test_rounds_without_guidance_are_refused(rounds: list[dict[str, object]]) -> None:
    with pytest.raises(ArtifactError, match="needed: a number for each, round 0 too"):
        round_guidance(rounds)
