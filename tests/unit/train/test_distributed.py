"""Two processes of torchrun train as one does."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modit.train.distributed import from_first, rank_and_size
from modit.train.journal import Journal
from modit.train.loop import train

SCRIPT = Path(__file__).parent / "data_parallel.py"
SOURCE = Path(__file__).resolve().parents[3] / "src"
STEPS = 12


class Interrupted(Exception):
    pass


def launch(folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(folder)], env=environment, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    weights = [torch.load(folder / f"weights{rank}.pt", weights_only=True) for rank in range(2)]
    return weights, json.loads((folder / "curve.json").read_text())


def alone(world, model_of, params_of, checkpoint=None, until=STEPS):
    params, journal = params_of(ema=0.9), Journal("pretrain", STEPS, logging.getLogger("test"))

    class Stopping:
        rewind = journal.rewind

        def __call__(self, step, figures):
            journal(step, figures)
            if step == until < STEPS:
                raise Interrupted

    model = train(model_of(), world.prefix(params), params, 3, Stopping(), checkpoint)
    return model.state_dict(), journal.curve


def assert_equal(found, expected):
    for name, value in expected.items():
        for weights in found:
            assert torch.allclose(weights[name], value, atol=1e-5), name


def test_two_processes_with_two_micro_batches_train_as_one_process(world, model_of, params_of, tmp_path):
    expected, curve = alone(world, model_of, params_of)
    found, other = launch(tmp_path)
    assert_equal(found, expected)
    assert len(other) == STEPS
    for one, two in zip(curve, other, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_two_processes_go_on_where_one_was_interrupted(world, model_of, params_of, tmp_path):
    expected, curve = alone(world, model_of, params_of)
    with pytest.raises(Interrupted):
        alone(world, model_of, params_of, tmp_path / "state.pt", until=8)
    found, other = launch(tmp_path)
    assert_equal(found, expected)
    assert [point["step"] for point in other] == list(range(6, STEPS + 1))
    for one, two in zip(curve[5:], other, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_process_alone_is_the_first_of_one():
    assert rank_and_size() == (0, 1)
    assert from_first("mine") == "mine"
