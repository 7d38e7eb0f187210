"""The same seed gives the same bytes, whole or interrupted, and cutting a batch into parts changes nothing."""

import logging

import numpy as np
import pytest
import torch

from modit.core.memory import in_parts
from modit.hppo.params import HPPOParams
from modit.training.checkpoint import save_model
from modit.training.loop import build_average, learning_rate_factor, step_generator, train
from modit.training.session import Journal, run_stage

LOGGER = logging.getLogger("test")


class Interrupted(Exception):
    pass


class DyingJournal(Journal):
    """A journal whose process dies after some step."""

    last = 8

    def __call__(self, step, figures):
        super().__call__(step, figures)
        if step == self.last:
            raise Interrupted


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def trained(world, model_of, params, **config):
    journal = Journal("pretrain", params.steps, LOGGER)
    return train(model_of(**config), world.prefix(params), params, 3, journal), journal.curve


def test_same_seed_gives_the_same_bytes_and_another_seed_others(world, model_of, params_of, tmp_path):
    params, files = params_of(), []
    for number, seed in enumerate((3, 3, 4)):
        model = train(model_of(dropout=0.1), world.prefix(params), params, seed, Journal("pretrain", 12, LOGGER))
        save_model(tmp_path / "model.pt", model)
        files.append((tmp_path / "model.pt").read_bytes())
        assert not model.training, number
    assert files[0] == files[1]
    assert files[0] != files[2]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_interrupted_stage_goes_on_to_the_bit(world, model_of, params_of, tmp_path, monkeypatch, ema):
    params = params_of(ema=ema)
    folders = {name: tmp_path / name for name in ("whole", "parts", "scratch", "other")}
    for folder in folders.values():
        folder.mkdir()

    def run(folder, scratch):
        model = model_of(dropout=0.1)
        return run_stage(model, world.prefix(params), params, 3, folders[folder], folders[scratch], LOGGER)

    run("whole", "other")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("modit.training.session.Journal", DyingJournal)
        run("parts", "scratch")
    assert (folders["scratch"] / "state.pt").exists()
    run("parts", "scratch")
    for name in ("model.pt", "curve.json"):
        assert (folders["parts"] / name).read_bytes() == (folders["whole"] / name).read_bytes()
    assert len((folders["scratch"] / "curve.jsonl").read_text().splitlines()) == params.steps


def test_resumed_stage_does_only_the_steps_that_are_left(world, model_of, params_of, tmp_path):
    params, steps = params_of(), []

    class Counted(DyingJournal):
        def __call__(self, step, figures):
            steps.append(step)
            super().__call__(step, figures)

    with pytest.raises(Interrupted):
        train(model_of(), world.prefix(params), params, 3, Counted("x", 12, LOGGER), tmp_path / "state.pt")
    journal = Journal("x", 12, LOGGER)
    train(model_of(), world.prefix(params), params, 3, journal, tmp_path / "state.pt")
    assert steps == list(range(1, 9))
    assert [point["step"] for point in journal.curve] == list(range(6, 13))


@pytest.mark.parametrize("accumulate", [2, 8])
def test_micro_batches_add_up_to_the_whole_batch(world, model_of, params_of, accumulate):
    whole, curve = trained(world, model_of, params_of())
    parts, other = trained(world, model_of, params_of(accumulate=accumulate))
    assert torch.allclose(weights(whole), weights(parts), atol=1e-5)
    for one, two in zip(curve, other, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize("parts", [2, 4, 64])
def test_a_batch_in_parts_trains_as_the_whole_does(world, model_of, params_of, parts):
    whole, curve = trained(world, model_of, params_of(accumulate=2))
    with in_parts(parts):  # more parts than rows are as many parts as rows
        other, its_curve = trained(world, model_of, params_of(accumulate=2))
    assert torch.allclose(weights(whole), weights(other), atol=1e-5)
    for one, two in zip(curve, its_curve, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_training_lowers_the_loss_of_each_stage(world, model_of, params_of):
    params = params_of(steps=120, batch=16, learning_rate=3e-3, log_every=1)
    for stage in (world.prefix(params), world.target(params)):
        journal = Journal(stage.name, params.steps, LOGGER)
        train(model_of(), stage, params, 0, journal)
        losses = [point["loss"] for point in journal.curve]
        assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])


@pytest.mark.parametrize("copy_heads", [0, 2])
def test_every_parameter_has_a_part_in_every_loss(world, make_model, params_of, copy_heads):
    """Data parallelism without a search for unused parameters relies on it."""
    params, hppo = params_of(), HPPOParams(batch=4)
    sizes = {"copy_heads": copy_heads, "linear_head": not copy_heads}
    stages = (world.prefix(params), world.target(params), world.preference(make_model(1, **sizes), hppo))
    for stage in stages:
        model = make_model(**sizes)
        loss, _ = stage.loss(model, stage.batch(step_generator(0, stage.name, 0), 4))
        loss.sum().backward()
        missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not missing, stage.name


def test_loss_in_bf16_is_near_that_in_full_precision(world, model_of, params_of):
    """As on a GPU: matrix products in bf16, path and loss in float32."""
    params = params_of(condition_dropout=0.3)
    for stage in (world.prefix(params), world.target(params), world.preference(model_of(), HPPOParams(batch=4))):
        model, batch = model_of(), stage.batch(step_generator(0, stage.name, 0), 8)
        expected, _ = stage.loss(model, batch)
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = stage.loss(model, batch)
        loss.sum().backward()
        assert loss.dtype == torch.float32
        assert torch.allclose(loss, expected, rtol=0.05, atol=0.02)


def test_average_decays_towards_the_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    average = build_average(model, 0.75)
    for value in (4.0, 8.0, 0.0):
        model.weight.data.fill_(value)
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(0.75 * (0.75 * 4 + 0.25 * 8))
    assert build_average(model, 0.0) is None


def test_model_becomes_the_average_of_its_weights(world, model_of, params_of):
    last, _ = trained(world, model_of, params_of())
    average, _ = trained(world, model_of, params_of(ema=0.9))
    start = weights(model_of())
    assert (weights(average) - start).norm() < 0.9 * (weights(last) - start).norm()


def test_learning_rate_warms_up_linearly_and_falls_on_a_cosine(params_of):
    params = params_of(steps=100, warmup=0.1, final_ratio=0.1)
    factors = [learning_rate_factor(step, params) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.55)
    assert factors[99] == pytest.approx(0.1, abs=1e-3)
    assert all(before >= after for before, after in zip(factors[9:], factors[10:], strict=False))


def test_learning_rate_and_gradient_norm_are_in_the_curve(world, model_of, params_of):
    params = params_of(learning_rate=0.01)
    _, curve = trained(world, model_of, params)
    expected = [0.01 * learning_rate_factor(step, params) for step in range(12)]
    assert [point["learning_rate"] for point in curve] == pytest.approx(expected, abs=1e-6)
    assert all(point["gradient_norm"] > 0 for point in curve)


def test_batch_of_a_step_depends_on_seed_stage_and_step_alone():
    first = torch.randn(3, generator=step_generator(1, "pretrain", 7))
    assert torch.equal(first, torch.randn(3, generator=step_generator(1, "pretrain", 7)))
    for other in ((2, "pretrain", 7), (1, "finetune", 7), (1, "pretrain", 8)):
        assert not torch.equal(first, torch.randn(3, generator=step_generator(*other)))
