"""What a target may depend on, and that the packed pass is what a dense masked transformer computes."""

import math

import pytest
import torch

from modit.model.axes import AXES, case_axes, from_frame
from modit.model.dit import ConditionCache, MODiT, modulate, packed_visibility, query_visibility, rotate
from modit.model.flow import normalize
from tests.unit.conftest import draw_geometry

BATCH, COUNT, DIMENSION = 3, 6, 10
HEADS = [{"copy_heads": 2}, {"copy_heads": 0, "linear_head": True}, {"copy_heads": 2, "linear_head": True}]


@pytest.fixture(autouse=True)
def double_precision():
    """Rounding must not hide a leak, nor look like one."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Inputs:
    """Seeds with axes whose frame is made of the first two, and targets with times."""

    def __init__(self, seed: int = 0) -> None:
        self.seeds = normalize(draw(BATCH, COUNT, DIMENSION, seed=seed))
        self.lengths = torch.full((BATCH,), COUNT)
        self.axes = case_axes(self.seeds, torch.full((BATCH,), 2), draw_geometry(DIMENSION, seed + 1))
        self.noised = normalize(draw(BATCH, COUNT, DIMENSION, seed=seed + 2))
        self.time = draw(BATCH, COUNT, seed=seed + 3).sigmoid()
        self.dropped = torch.zeros(BATCH, COUNT, dtype=torch.bool)

    def encode(self, model: MODiT) -> ConditionCache:
        return model.encode(self.seeds, self.lengths, self.axes)

    @torch.no_grad()
    def packed(self, model: MODiT) -> torch.Tensor:
        visibility = packed_visibility(BATCH, COUNT, self.dropped, torch.device("cpu"))
        return model.velocity(self.noised, self.time, self.encode(model), visibility)


@torch.no_grad()
def dense_reference(model: MODiT, inputs: Inputs) -> torch.Tensor:
    """One transformer over [BOS, conditions, targets] with an explicit mask over all 2L + 1 tokens."""
    mask = dense_mask(inputs.dropped)
    bos = (model.bos + model.roles[0]).expand(BATCH, 1, -1)
    conditions = model.tokens(inputs.seeds, inputs.axes, role=0)
    targets = model.tokens(inputs.noised, inputs.axes, role=1)
    x, time = torch.cat([bos, conditions, targets], 1), model.time(inputs.time)
    positions = torch.cat([torch.arange(COUNT + 1), torch.arange(1, COUNT + 1)])[None]
    for block in model.blocks:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            with_plain_conditions(part, plain)
            for part, plain in zip(block.modulation(time).chunk(6, -1), (0, 0, 1, 0, 0, 1), strict=True)
        )
        x = x + gate_a * dense_attention(
            block.attention, modulate(block.norm_attention(x), shift_a, scale_a), positions, mask
        )
        x = x + gate_m * block.mlp(modulate(block.norm_mlp(x), shift_m, scale_m))
    return dense_readout(model, x, time, mask, inputs)


def dense_mask(dropped: torch.Tensor) -> torch.Tensor:
    """True where row sees column [B, 2L + 1, 2L + 1].

    Conditions are causal and see no target; target r sees the r tokens
    before it (or BOS alone) and itself.
    """
    size = COUNT + 1
    mask = torch.zeros(BATCH, size + COUNT, size + COUNT, dtype=torch.bool)
    mask[:, :size, :size] = torch.ones(size, size).tril().bool()
    for row in range(COUNT):
        mask[:, size + row, : row + 1] = True
        mask[:, size + row, 1 : row + 1] &= ~dropped[:, row, None]
        mask[:, size + row, size + row] = True
    return mask


def with_plain_conditions(modulation: torch.Tensor, plain: float) -> torch.Tensor:
    """Modulation of targets, and the neutral value for BOS and conditions."""
    return torch.cat([torch.full((BATCH, COUNT + 1, modulation.shape[-1]), float(plain)), modulation], 1)


def dense_attention(attention, x: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    q, k, v = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in attention.qkv(x).chunk(3, -1))
    q, k = rotate(q, positions, attention.base), rotate(k, positions, attention.base)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~mask[:, None], -math.inf)
    return attention.merge(scores.softmax(-1) @ v)


def dense_readout(
    model: MODiT, x: torch.Tensor, time: torch.Tensor, mask: torch.Tensor, inputs: Inputs
) -> torch.Tensor:
    readout, conditions, targets = model.readout, x[:, : COUNT + 1], x[:, COUNT + 1 :]
    targets = modulate(readout.norm(targets), *readout.modulation(time).chunk(2, -1))
    gates = readout.gate(targets)
    velocity = torch.einsum("bra,bad->brd", gates[..., readout.heads :], inputs.axes)
    if readout.heads:
        raw = torch.cat([torch.zeros(BATCH, 1, DIMENSION), inputs.seeds], 1)
        keys = readout.key(readout.norm_condition(conditions)).unflatten(-1, (readout.heads, -1))
        queries = readout.query(targets).unflatten(-1, (readout.heads, -1))
        scores = torch.einsum("brhe,bche->bhrc", queries, keys) / math.sqrt(queries.shape[-1])
        weights = scores.masked_fill(~mask[:, None, COUNT + 1 :, : COUNT + 1], -math.inf).softmax(-1)
        velocity = velocity + torch.einsum("brh,bhrc,bcd->brd", gates[..., : readout.heads], weights, raw)
    if readout.velocity is not None:
        velocity = velocity + from_frame(readout.velocity(targets), inputs.axes[:, 0])
    return velocity


def tensors(cache: ConditionCache) -> tuple[torch.Tensor, ...]:
    return (*cache.keys, *cache.values, cache.copy_keys, cache.tokens)


@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_packed_pass_is_a_dense_masked_transformer(make_model, heads):
    inputs, model = Inputs(), make_model(**heads)
    inputs.dropped = draw(BATCH, COUNT, seed=9) > 0.5
    assert torch.allclose(inputs.packed(model), dense_reference(model, inputs), atol=1e-9)


@pytest.mark.parametrize("heads", HEADS, ids=str)
@torch.no_grad()
def test_packed_pass_is_one_prefix_at_a_time(make_model, heads):
    inputs, model = Inputs(), make_model(**heads)
    packed = inputs.packed(model)
    for row in range(COUNT):
        lengths = torch.full((BATCH,), row)
        cache = model.encode(inputs.seeds[:, :row], lengths, inputs.axes)
        single = model.velocity(
            inputs.noised[:, row : row + 1], inputs.time[:, row : row + 1], cache, query_visibility(cache, 1)
        )
        assert torch.allclose(packed[:, row], single[:, 0], atol=1e-9)


@torch.no_grad()
def test_conditions_are_bit_identical_whatever_the_targets_and_times(make_model):
    inputs, model = Inputs(), make_model()
    alone = inputs.encode(model)
    for noised, time in ((inputs.noised, inputs.time), (-inputs.noised, 1 - inputs.time)):
        cache = inputs.encode(model)
        model.velocity(noised, time, cache, packed_visibility(BATCH, COUNT, inputs.dropped, torch.device("cpu")))
        for before, after in zip(tensors(alone), tensors(cache), strict=True):
            assert torch.equal(before, after)


@torch.no_grad()
def test_conditions_see_no_later_condition(make_model):
    inputs, model = Inputs(), make_model()
    before = inputs.encode(model)
    inputs.seeds = torch.cat([inputs.seeds[:, :3], -inputs.seeds[:, 3:]], 1)
    after = inputs.encode(model)
    for first, second in zip((*before.keys, before.copy_keys), (*after.keys, after.copy_keys), strict=True):
        assert torch.allclose(first[:, :, :4], second[:, :, :4], atol=1e-9)
        assert not torch.allclose(first[:, :, 4:], second[:, :, 4:], atol=1e-3)


@pytest.mark.parametrize("row", range(COUNT))
def test_target_depends_on_its_prefix_and_on_nothing_else(make_model, row):
    model, plain, changed = make_model(), Inputs(), Inputs()
    changed.seeds = torch.cat([plain.seeds[:, :row], -plain.seeds[:, row:]], 1)
    others = torch.arange(COUNT) != row
    changed.noised = torch.where(others[:, None], -plain.noised, plain.noised)
    changed.time = torch.where(others, 1 - plain.time, plain.time)
    before, after = plain.packed(model), changed.packed(model)
    assert torch.allclose(before[:, row], after[:, row], atol=1e-9)
    assert not torch.allclose(before[:, others], after[:, others], atol=1e-3)


@pytest.mark.parametrize("row", range(1, COUNT))
def test_every_item_of_the_prefix_matters(make_model, row):
    model, before = make_model(), Inputs()
    for place in range(row):
        changed = Inputs()
        changed.seeds = before.seeds.clone()
        changed.seeds[:, place] *= -1
        assert not torch.allclose(before.packed(model)[:, row], changed.packed(model)[:, row], atol=1e-4)


@pytest.mark.parametrize("axis", range(len(AXES)), ids=AXES)
def test_dropped_target_sees_bos_and_axes_alone(make_model, axis):
    model, before, changed = make_model(), Inputs(), Inputs()
    before.dropped = changed.dropped = torch.ones(BATCH, COUNT, dtype=torch.bool)
    changed.seeds = -before.seeds
    assert torch.allclose(before.packed(model), changed.packed(model), atol=1e-9)
    changed.axes[:, axis] *= -1
    assert not torch.allclose(before.packed(model), changed.packed(model), atol=1e-3)


@torch.no_grad()
def test_unconditional_query_is_a_dropped_target(make_model):
    inputs, model = Inputs(), make_model()
    inputs.dropped[:, -1] = True
    dropped = inputs.packed(model)[:, -1]
    cache = model.encode(inputs.seeds[:, :-1], inputs.lengths - 1, inputs.axes)
    visibility = query_visibility(cache, 1, torch.ones(BATCH, 1, dtype=torch.bool))
    single = model.velocity(inputs.noised[:, -1:], inputs.time[:, -1:], cache, visibility)
    # Only the rotary position is left to tell how many seeds there were.
    assert torch.allclose(single[:, 0], dropped, atol=1e-9)


@torch.no_grad()
def test_padding_on_the_right_changes_nothing(make_model):
    inputs, model = Inputs(), make_model()
    lengths = torch.tensor([2, 4, 6])
    garbage = normalize(draw(BATCH, 3, DIMENSION, seed=8))
    for row, length in enumerate(lengths.tolist()):
        own = slice(row, row + 1)
        seeds = torch.cat([inputs.seeds[own, :length], garbage[own]], 1)
        short = model.encode(inputs.seeds[own, :length], lengths[own], inputs.axes[own])
        padded = model.encode(seeds, lengths[own], inputs.axes[own])
        one, other = (
            model.velocity(inputs.noised[own], inputs.time[own], cache, query_visibility(cache, COUNT))
            for cache in (short, padded)
        )
        assert torch.allclose(one, other, atol=1e-9)


@torch.no_grad()
def test_readout_stays_in_the_span_of_seeds_and_axes(make_model):
    inputs, model = Inputs(), make_model(linear_head=False)
    cache = model.encode(inputs.seeds[:, :3], torch.full((BATCH,), 3), inputs.axes)
    velocity = model.velocity(inputs.noised, inputs.time, cache, query_visibility(cache, COUNT))
    brought = torch.cat([inputs.seeds[:, :3], inputs.axes[:, 1:]], 1)  # the frame is in the seeds' span
    outside = torch.eye(DIMENSION) - torch.linalg.pinv(brought) @ brought
    assert (velocity @ outside).norm() < 1e-9 * velocity.norm()
