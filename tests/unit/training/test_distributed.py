"""Two processes of torchrun train as one does, whether each keeps the whole model or they cut it among them."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modit.hppo.round import round_optimizer
from modit.model.dit import DiTConfig, MODiT
from modit.training.distributed import STATE_SHARE, from_first, must_shard, rank_and_size, training_bytes
from modit.training.loop import build_average, build_optimizer, train
from modit.training.session import Journal
from tests.unit.training.conftest import World, settings, small_model
from tests.unit.training.data_parallel import HPPO, SHARDINGS

SCRIPT = Path(__file__).parent / "data_parallel.py"
ROOT = Path(__file__).resolve().parents[3]
STEPS = 12


def alone(checkpoint=None, stage=None, params=None):
    """Weights and curve of one process."""
    params = params or settings(ema=0.9)
    journal = Journal("pretrain", params.steps, logging.getLogger("test"))
    model = train(small_model(), stage or World().prefix(params), params, 3, journal, checkpoint)
    return {"weights": model.state_dict(), "curve": journal.curve}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left behind, after one had left them a state of step 10."""
    folder = tmp_path_factory.mktemp("team")
    alone(folder / "alone_none.pt")
    shutil.copy(folder / "alone_none.pt", folder / "alone_full.pt")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(folder)], env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return [torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def expected():
    return alone()


def assert_equal(other, expected, first_step=1):
    """Weights and curves agree to rounding."""
    for name, value in expected["weights"].items():
        assert torch.allclose(other["weights"][name], value, atol=1e-5), name
    rest = [point for point in expected["curve"] if point["step"] >= first_step]
    assert [point["step"] for point in other["curve"]] == [point["step"] for point in rest]
    for one, two in zip(rest, other["curve"], strict=True):
        assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_with_two_micro_batches_train_as_one_process(found, expected, sharding):
    first, second = (each["cases"][f"{sharding}/whole"] for each in found)
    assert_equal(first, expected)
    for name, value in first["weights"].items():
        assert torch.equal(second["weights"][name], value), name


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_go_on_from_their_own_state(found, expected, sharding):
    assert_equal(found[0]["cases"][f"{sharding}/resumed"], expected, first_step=11)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_go_on_where_one_was_interrupted(found, expected, sharding):
    assert_equal(found[0]["cases"][f"{sharding}/taken_over"], expected, first_step=11)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_one_process_goes_on_where_two_were_interrupted(folder, expected, sharding):
    assert_equal(alone(folder / f"{sharding}.pt"), expected, first_step=11)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_prefer_as_one_does(found, sharding):
    expected = alone(
        stage=World().preference(small_model(), HPPO), params=round_optimizer(HPPO).model_copy(update={"ema": 0.9})
    )
    assert_equal(found[0]["cases"][f"{sharding}/hppo"], expected)


def test_every_parameter_and_average_is_cut_where_sharding_is_full(found):
    whole = sum(parameter.numel() for parameter in small_model().parameters())
    for first, second in zip(found[0]["cut"], found[1]["cut"], strict=True):
        assert sum(size for size, _ in first) == 2 * whole
        held = [sum(part for _, part in process) for process in (first, second)]
        assert sum(held) == 2 * whole and max(held) < 1.2 * whole


def test_process_alone_is_the_first_of_one():
    assert rank_and_size() == (0, 1)
    assert from_first("mine") == "mine"


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_estimate_is_what_training_keeps(ema):
    model, params = small_model(), settings(ema=ema, steps=1)
    average, optimizer = build_average(model, ema), build_optimizer(model, params)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    averages = list(average.module.parameters()) if average is not None else []
    kept = sum(tensor.nbytes for tensor in [*model.parameters(), *gradients, *moments, *averages])
    buckets = sum(gradient.nbytes for gradient in gradients)
    assert training_bytes(model, averaged=ema > 0) == kept + buckets


def test_estimate_needs_no_memory_of_its_own():
    with torch.device("meta"):
        model = MODiT(DiTConfig(dimension=64, width=4096, depth=48, heads=32, mlp_ratio=4.0))
    assert training_bytes(model, averaged=False) > 2e11


AROUND_THE_LIMIT = [("none", 9.0, False), ("full", 0.0, True), ("auto", 1.01, True), ("auto", 0.99, False)]


@pytest.mark.parametrize(("sharding", "filled", "cut"), AROUND_THE_LIMIT)
def test_auto_cuts_what_would_fill_the_gpu(monkeypatch, sharding, filled, cut):
    memory = 80 * 2**30
    properties = type("Properties", (), {"total_memory": memory})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr("modit.training.distributed.rank_and_size", lambda: (0, 2))
    monkeypatch.setattr("modit.training.distributed.from_first", lambda value: value)
    assert must_shard(sharding, int(filled * STATE_SHARE * memory), torch.device("cuda")) is cut


@pytest.mark.parametrize("sharding", ["full", "auto"])
def test_nothing_is_cut_for_one_process(sharding):
    assert not must_shard(sharding, 2**50, torch.device("cpu"))
