import json
import logging

from modit.training.session import Journal


def test_curve_survives_a_crash_and_forgets_the_steps_that_are_done_again(tmp_path):
    logger, file = logging.getLogger("test"), tmp_path / "curve.jsonl"
    first = Journal("pretrain", 4, logger, file)
    for step in (1, 2, 3):
        first(step, {"loss": 1 / step})
    second = Journal("pretrain", 4, logger, file)
    second.rewind(2)
    second(3, {"loss": 0.25})
    second.save(tmp_path / "curve.json")
    expected = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.25}]
    assert json.loads((tmp_path / "curve.json").read_text()) == expected
    assert [json.loads(line) for line in file.read_text().splitlines()] == expected


def test_last_step_is_always_logged(caplog):
    journal = Journal("finetune", 3, logging.getLogger("test"))
    with caplog.at_level("INFO"):
        for step in (1, 2, 3):
            journal(step, {"loss": 0.5})
    assert "finetune: step 3 of 3, loss 0.5" in caplog.messages
