import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.data.catalog import Sequences
from modit.model.axes import Geometry, case_axes
from modit.training.loop import step_generator
from modit.training.stages import (
    PrefixPrediction,
    draw_rotations,
    keep_some,
    sequence_windows,
    subset_rows,
    tail_centroids,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(0, 1))
def test_kept_seeds_are_at_least_one_and_keep_their_order(seed, count, full_share):
    seeds = torch.arange(count).expand(12, -1)
    kept, lengths = keep_some(seeds, full_share, generator(seed))
    assert lengths.min() >= 1
    assert lengths.max() <= count
    for row, length in zip(kept, lengths, strict=True):
        assert (row[:length].diff() > 0).all()
        assert row.sort()[0].tolist() == list(range(count))


def test_share_of_full_rows_keeps_everything():
    seeds = torch.arange(6).expand(400, -1)
    assert (keep_some(seeds, 1.0, generator())[1] == 6).all()
    some = (keep_some(seeds, 0.5, generator())[1] == 6).float().mean().item()
    assert some == pytest.approx(0.5 + 0.5 / 6, abs=0.08)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_subsets_of_catalogue_rows_keep_order_and_pad_at_the_end(seed, full_share):
    rows = np.arange(100, 160, dtype=np.int32).reshape(10, 6)
    kept = subset_rows(rows, full_share, np.random.default_rng(seed))
    assert kept.dtype == np.int32
    for original, row in zip(rows, kept, strict=True):
        present = row[row >= 0]
        assert len(present) >= 1
        assert (row[: len(present)] >= 0).all()
        assert (np.diff(present) > 0).all()
        assert set(present) <= set(original)


def test_tail_centroids_are_unit_means_of_the_tail(world):
    found = tail_centroids(world.embeddings, world.sequences, 3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    mean = world.embeddings[world.sequences[0, -3:]].mean(0)
    assert np.allclose(found[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_windows_hold_allowed_items_once_and_nothing_else():
    items = np.array([1, 2, 3, 2, 9, 4, 5, 6, 7, 8, 1, 2, 3, 9, 9, 9], np.int32)
    allowed = np.arange(10) != 9
    windows = sequence_windows(Sequences(np.array([0, 10, 13, 16]), items), allowed, length=4)
    assert windows.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert sequence_windows(Sequences(np.array([0, 3]), items[:3]), allowed, length=4).shape == (0, 4)
    padded = sequence_windows(Sequences(np.array([0, 10]), items[:10]), allowed, length=5, minimum=3)
    assert padded.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, -1, -1]]


def test_prefix_loss_counts_only_items_after_those_that_make_the_frame(world, make_model, params_of):
    """Nothing is predicted from a frame that the item itself helped to make, and padding is not predicted at all."""
    world.sequences[:, 5:] = -1
    stage, model = world.prefix(params_of()), make_model()
    batch = stage.batch(step_generator(0, "x", 0), 8)
    assert (batch["framed"] >= 1).all()
    assert (batch["framed"] <= 4).all()
    noise = torch.rand(batch["noise"].shape, generator=generator())
    counted = torch.arange(8) >= batch["framed"][:, None]
    counted &= batch["valid"]
    before, _ = stage.loss(model, batch)
    changed = batch | {"noise": torch.where(counted[..., None], batch["noise"], noise)}
    assert torch.allclose(stage.loss(model, changed)[0], before, atol=1e-5)
    changed = batch | {"noise": torch.where(counted[..., None], noise, batch["noise"])}
    assert not torch.allclose(stage.loss(model, changed)[0], before, atol=1e-3)


@pytest.mark.parametrize("kind", ["prefix", "target"])
def test_rotated_batches_keep_all_inner_products(world, params_of, kind):
    """A batch under rotation is the same batch in other coordinates; noise is drawn for each on its own."""

    def draw(rotate):
        batch = getattr(world, kind)(params_of(rotate=rotate, condition_dropout=0.0)).batch(
            step_generator(0, "x", 0), 4
        )
        targets = batch["targets"] if kind == "prefix" else batch["targets"][:, None]
        return torch.cat([batch["seeds"], targets, batch["axes"]], 1)

    plain, turned = draw(0.0), draw(1.0)
    assert not torch.allclose(plain, turned, atol=1e-2)
    assert torch.allclose(plain @ plain.transpose(1, 2), turned @ turned.transpose(1, 2), atol=1e-5)


def test_each_sequence_has_the_axes_of_its_own_domain(world, params_of):
    """Sequences of the first domain start at an even row, of the second at an odd one."""
    kinds = np.arange(len(world.sequences)) % 2
    world.sequences[:, 0] = world.sequences[:, 0] // 2 * 2 + kinds
    other = Geometry(-world.geometry.density, *world.geometry[1:])
    geometries = [world.geometry, other]
    params = params_of(rotate=0.0)
    stage = PrefixPrediction("cpt", world.embeddings, world.sequences, params, geometries, kinds)
    batch = stage.batch(generator(), 12)
    first = (batch["seeds"][:, :1] - torch.from_numpy(world.embeddings)).norm(dim=-1).argmin(1)
    assert set((first % 2).tolist()) == {0, 1}
    for row, item in enumerate(first.tolist()):
        expected = case_axes(batch["seeds"][row : row + 1], batch["framed"][row : row + 1], geometries[item % 2])
        assert torch.allclose(batch["axes"][row : row + 1], expected, atol=1e-6)


def test_no_seed_after_the_frame_is_in_the_axes(world, params_of):
    batch = world.prefix(params_of(rotate=0.0)).batch(generator(), 8)
    after = torch.arange(8) >= batch["framed"][:, None]
    hidden = torch.where(after[..., None], -batch["seeds"], batch["seeds"])
    assert torch.allclose(case_axes(hidden, batch["framed"], world.geometry), batch["axes"], atol=1e-6)


def test_rotations_are_orthogonal_and_as_frequent_as_asked():
    found = draw_rotations(6, 400, 0.25, generator())
    assert torch.allclose(found @ found.transpose(1, 2), torch.eye(6).expand(400, -1, -1), atol=1e-5)
    rotated = (found - torch.eye(6)).abs().amax((1, 2)) > 0.01
    assert rotated.float().mean().item() == pytest.approx(0.25, abs=0.07)
