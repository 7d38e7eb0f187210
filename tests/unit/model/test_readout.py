"""The readout: moves, their vote, and the network's share beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from modit.export.sampler import sampler_graph
from modit.export.sampler_parts import SamplerParts
from modit.inference.sampler_file import INPUTS
from modit.metric.evidence import DIRECTIONS, FEEDBACK_COUNTS
from modit.model.axes import Geometry
from modit.model.dit import DiTConfig, MODiT
from modit.model.flow import normalize
from modit.model.readout import (
    BLENDS,
    EVIDENCE,
    FIXED_MOVES,
    LOCAL_MOVES,
    MOVES,
    STEPS,
    Move,
    Readout,
    readout_json,
    readout_of_json,
    step_directions,
)
from modit.model.sampler import Sampler, blends_of_seeds
from tests.unit.conftest import DIMENSION, draw_geometry

VOTERS = (
    Move("best", "attribute", 0.6),
    Move("mean + whitened", "both", 1.3),
    Move("mean", "density", 0.0),
    Move("mean", "density", 0.3, "30", 1.5),
)
WEIGHTS = (0.4, 0.3, 0.2, 0.1)


@pytest.fixture
def geometry() -> Geometry:
    return draw_geometry(seed=3)


def sampler_with(geometry: Geometry, readout: Readout | None) -> Sampler:
    torch.manual_seed(0)
    model = MODiT(DiTConfig(DIMENSION, width=16, depth=1, heads=2, copy_heads=2)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Sampler(model, geometry, 2, 2, readout).eval()


def inputs(cases: int = 4, seeds: int = 9) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(cases, seeds, generator=generator) > 0.3
    mask[:, 0] = True
    drawn = (
        torch.randn(cases, seeds, DIMENSION, generator=generator),
        torch.randn(cases, DIMENSION, generator=generator),
    )
    evidence = torch.randn(cases, len(EVIDENCE), DIMENSION, generator=generator)
    return drawn[0], mask, drawn[1], torch.full((cases,), 2.0), evidence


@torch.no_grad()
def queries(geometry: Geometry, share: float) -> torch.Tensor:
    return sampler_with(geometry, Readout.of(share, VOTERS, WEIGHTS, geometry))(*inputs())


def test_fixed_moves_are_every_blend_as_it_is_and_with_every_step_and_no_move_is_there_twice() -> None:
    assert len(FIXED_MOVES) == len(BLENDS) * (1 + 10 * len(STEPS))
    assert len(set(MOVES)) == len(MOVES) == len(FIXED_MOVES) + len(LOCAL_MOVES)
    assert not any(move.evidence_weight for move in FIXED_MOVES) and all(move.evidence_weight for move in LOCAL_MOVES)


def test_the_directions_of_evidence_are_those_that_the_look_up_gives() -> None:
    assert (*map(str, FEEDBACK_COUNTS), "probe") == EVIDENCE and len(EVIDENCE) == DIRECTIONS


@torch.no_grad()
def test_without_known_verdicts_a_local_move_is_a_fixed_one(geometry: Geometry) -> None:
    *given, evidence = inputs()
    local, fixed = (
        sampler_with(geometry, Readout.of(0.0, [move], [1.0], geometry))
        for move in (Move("best", "attribute", 0.6, "probe", 1.5), Move("best", "attribute", 0.6))
    )
    torch.testing.assert_close(local(*given), fixed(*given))
    torch.testing.assert_close(local(*given, torch.zeros_like(evidence)), fixed(*given))
    assert (local(*given, evidence) - fixed(*given, evidence)).abs().max() > 0.1
    assert local.uses_evidence and not fixed.uses_evidence


@torch.no_grad()
def test_a_vote_is_the_weighted_mean_of_its_moves(geometry: Geometry) -> None:
    seeds, mask, _, _, evidence = inputs()
    near = dict(zip(EVIDENCE, evidence.unbind(1), strict=True))
    blends = dict(zip(BLENDS, blends_of_seeds(seeds, mask, geometry).unbind(1), strict=True))
    directions = dict(zip(STEPS, step_directions(geometry), strict=True))
    moved = [
        normalize(blends[move.blend] + move.length * directions[move.step] + move.evidence_weight * near[move.evidence])
        for move in VOTERS
    ]
    expected = normalize(sum(weight * query for weight, query in zip(WEIGHTS, moved, strict=True)))
    torch.testing.assert_close(queries(geometry, 0.0), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_network_takes_a_share_of_the_place_where_a_move_starts(geometry: Geometry) -> None:
    network = sampler_with(geometry, None)(*inputs())
    seeds, mask, *_, evidence = inputs()
    start = blends_of_seeds(seeds, mask, geometry)[:, BLENDS.index("mean")] + 0.3 * geometry.density
    length = start.norm(dim=-1, keepdim=True)
    for share in (0.0, 0.3, 1.0):
        moved = share * length * network + (1 - share) * start + 1.5 * evidence[:, EVIDENCE.index("30")]
        found = sampler_with(geometry, Readout.of(share, [VOTERS[-1]], [1.0], geometry))(*inputs())
        torch.testing.assert_close(found, normalize(moved), atol=1e-5, rtol=0)


@torch.no_grad()
def test_without_a_share_the_network_is_not_run(geometry: Geometry) -> None:
    sampler = sampler_with(geometry, Readout.of(0.0, VOTERS, WEIGHTS, geometry))
    sampler.model = None  # type: ignore[assignment]
    torch.testing.assert_close(sampler(*inputs()), queries(geometry, 0.0))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_order_of_the_seeds_changes_nothing(geometry: Geometry, share: float) -> None:
    seeds, mask, noise, guidance, evidence = inputs()
    order = torch.tensor([8, 3, 1, 0, 2, 7, 6, 5, 4])
    sampler = sampler_with(geometry, Readout.of(share, VOTERS, WEIGHTS, geometry))
    found = sampler(seeds[:, order], mask[:, order], noise, guidance, evidence)
    torch.testing.assert_close(found, sampler(seeds, mask, noise, guidance, evidence), atol=1e-6, rtol=0)


Exported = Callable[[float], tuple[Sampler, Path]]


@pytest.fixture
def exported(geometry: Geometry, made_once: Callable[[str, Callable[[Path], None]], Path], tmp_path: Path) -> Exported:
    """A sampler with a share of the network's query, and its graph as a file: translating its parts takes seconds."""

    def write(path: Path) -> None:
        SamplerParts.translate(sampler_with(geometry, None).model.config, 2, 2, 9).save(path.parent)

    parts = SamplerParts.load(made_once("readout_parts.json", lambda path: write(path) or path.touch()).parent)

    def of(share: float) -> tuple[Sampler, Path]:
        sampler, path = sampler_with(geometry, Readout.of(share, VOTERS, WEIGHTS, geometry)), tmp_path / f"{share}.onnx"
        path.write_bytes(sampler_graph(sampler, parts).SerializeToString())
        return sampler, path

    return of


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("cases", "seeds"), [(1, 1), (5, 9)])
@torch.no_grad()
def test_the_exported_graph_answers_as_torch(exported: Exported, share: float, cases: int, seeds: int) -> None:
    sampler, graph = exported(share)
    session, given = onnxruntime.InferenceSession(graph), inputs(cases, seeds)
    found = session.run(None, {name: part.numpy() for name, part in zip(INPUTS, given, strict=True)})[0]
    np.testing.assert_allclose(found, sampler(*given).numpy(), atol=1e-5)


def test_an_exported_vote_holds_no_network(exported: Exported) -> None:
    vote, mixture = (exported(share)[1].stat().st_size for share in (0.0, 0.3))
    assert vote < mixture / 3


def test_a_readout_comes_back_from_json(geometry: Geometry) -> None:
    stored = readout_json(0.3, VOTERS, WEIGHTS)
    for one, other in zip(readout_of_json(stored, geometry), Readout.of(0.3, VOTERS, WEIGHTS, geometry), strict=True):
        torch.testing.assert_close(one, other)


def test_an_unknown_move_is_refused_by_name(geometry: Geometry) -> None:
    stored = readout_json(0.3, [Move("median", "density", 0.1)], [1.0])
    with pytest.raises(ValueError, match="blend='median'.*allowed: blends"):
        readout_of_json(stored, geometry)
