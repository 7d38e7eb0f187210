import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.metric.predictor import DomainGeometry
from modit.model.axes import AXES, Geometry, case_axes, frame_of, from_frame, gram, to_axes
from modit.model.flow import normalize
from tests.unit.conftest import draw_geometry

DIMENSION = 8


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation_of(dimension, seed=1):
    return torch.linalg.qr(draw(seed, dimension, dimension))[0]


def turned(geometry, rotation):
    """What a geometry is after every item x has become x @ R."""
    density, attribute, mean = (part @ rotation for part in geometry[:3])
    return Geometry(density, attribute, mean, rotation.T @ geometry.whitening @ rotation)


@pytest.fixture
def geometry():
    return Geometry(*(part.double() for part in draw_geometry(DIMENSION)))


@pytest.fixture
def seeds():
    return normalize(draw(2, 3, 5, DIMENSION))


@pytest.fixture
def lengths():
    return torch.tensor([1, 3, 5])


def test_frame_is_the_unit_mean_of_the_valid_seeds_alone(seeds, lengths):
    frame = frame_of(seeds, lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(frame[row], normalize(seeds[row, :length].mean(0)), atol=1e-12)


def test_axes_are_unit_and_in_the_order_of_their_names(seeds, lengths, geometry):
    axes = case_axes(seeds, lengths, geometry)
    assert axes.shape == (3, len(AXES), DIMENSION)
    assert torch.allclose(axes.norm(dim=-1), torch.ones(3, len(AXES)).double(), atol=1e-7)
    named = dict(zip(AXES, axes.unbind(1), strict=True))
    assert torch.equal(named["frame"], frame_of(seeds, lengths))
    assert torch.equal(named["density"], geometry.density.expand(3, -1))
    assert torch.equal(named["attribute"], geometry.attribute.expand(3, -1))


def test_whitened_frame_solves_for_the_frame_less_the_mean(seeds, lengths, geometry):
    """It is S^-1 (frame - mean), for the covariance S that the whitening inverts."""
    covariance = torch.linalg.inv(geometry.whitening)
    expected = torch.linalg.solve(covariance, frame_of(seeds, lengths) - geometry.mean, left=False)
    whitened = case_axes(seeds, lengths, geometry)[:, AXES.index("whitened_frame")]
    assert torch.allclose(whitened, normalize(expected), atol=1e-9)
    assert not torch.allclose(whitened, frame_of(seeds, lengths), atol=0.05)


def test_axes_turn_with_the_space(seeds, lengths, geometry):
    rotation = rotation_of(DIMENSION)
    after = case_axes(seeds @ rotation, lengths, turned(geometry, rotation))
    assert torch.allclose(after, case_axes(seeds, lengths, geometry) @ rotation, atol=1e-9)


def test_cosines_between_the_axes_do_not_turn(seeds, lengths, geometry):
    rotation = rotation_of(DIMENSION)
    plain = gram(case_axes(seeds, lengths, geometry))
    assert plain.shape == (3, 6)
    assert torch.allclose(gram(case_axes(seeds @ rotation, lengths, turned(geometry, rotation))), plain, atol=1e-9)


def test_cosines_are_those_of_every_pair_of_axes(seeds, lengths, geometry):
    axes = case_axes(seeds, lengths, geometry)
    pairs = [(one, two) for one in range(len(AXES)) for two in range(one + 1, len(AXES))]
    for column, (one, two) in enumerate(pairs):
        assert torch.allclose(gram(axes)[:, column], (axes[:, one] * axes[:, two]).sum(-1), atol=1e-12)


def test_blank_geometry_leaves_the_frame_as_the_only_axis(seeds, lengths):
    axes = case_axes(seeds.float(), lengths, Geometry.blank(DIMENSION))
    assert torch.equal(axes[:, 0], frame_of(seeds.float(), lengths))
    assert not axes[:, 1:].any()


def test_geometry_reads_the_fitted_one_by_name():
    plain = draw_geometry(DIMENSION)
    fitted = DomainGeometry(**{name: part.numpy() for name, part in plain._asdict().items()})
    for part, expected in zip(Geometry.of(fitted), plain, strict=True):
        assert torch.equal(part, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 20), st.booleans())
def test_frame_map_keeps_inner_products_and_has_its_adjoint(seed, dimension, absolute):
    frame = torch.zeros(2, dimension).double() if absolute else normalize(draw(seed, 2, dimension))
    x, y, z = draw(seed + 1, 2, 5, dimension), draw(seed + 2, 2, 5, dimension), draw(seed + 3, 2, 5, dimension + 1)
    one, two = to_axes(x, frame[:, None]), to_axes(y, frame[:, None])
    assert torch.allclose((one * two).sum(-1), (x * y).sum(-1), atol=1e-9)
    assert torch.allclose((one * z).sum(-1), (x * from_frame(z, frame)).sum(-1), atol=1e-9)
    assert torch.allclose(from_frame(one, frame), x, atol=1e-9)


def test_reading_is_the_offset_from_the_frame_then_a_coordinate_on_each_axis(seeds, lengths, geometry):
    axes, x = case_axes(seeds, lengths, geometry), draw(3, 3, 5, DIMENSION)
    read = to_axes(x, axes)
    assert read.shape == (3, 5, DIMENSION + len(AXES))
    assert (read[..., :DIMENSION] * axes[:, :1]).sum(-1).abs().max() < 1e-12
    for number in range(len(AXES)):
        assert torch.allclose(read[..., DIMENSION + number], (x * axes[:, number, None]).sum(-1), atol=1e-12)


def test_offsets_turn_with_the_space_and_coordinates_do_not(seeds, lengths, geometry):
    rotation, x = rotation_of(DIMENSION), draw(3, 3, 5, DIMENSION)
    after = to_axes(x @ rotation, case_axes(seeds @ rotation, lengths, turned(geometry, rotation)))
    plain = to_axes(x, case_axes(seeds, lengths, geometry))
    assert torch.allclose(after[..., :DIMENSION], plain[..., :DIMENSION] @ rotation, atol=1e-9)
    assert torch.allclose(after[..., DIMENSION:], plain[..., DIMENSION:], atol=1e-9)
