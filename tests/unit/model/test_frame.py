import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.model.flow import normalize
from modit.model.frame import frame_of, from_frame, to_frame


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 20), st.booleans())
def test_frame_map_keeps_inner_products_and_has_its_adjoint(seed, dimension, absolute):
    frame = torch.zeros(2, dimension).double() if absolute else normalize(draw(seed, 2, dimension))
    x, y, z = draw(seed + 1, 2, 5, dimension), draw(seed + 2, 2, 5, dimension), draw(seed + 3, 2, 5, dimension + 1)
    inner = (x * y).sum(-1)
    assert torch.allclose((to_frame(x, frame) * to_frame(y, frame)).sum(-1), inner, atol=1e-9)
    assert torch.allclose((to_frame(x, frame) * z).sum(-1), (x * from_frame(z, frame)).sum(-1), atol=1e-9)
    assert torch.allclose(from_frame(to_frame(x, frame), frame), x, atol=1e-9)


def test_frame_is_the_unit_mean_of_the_first_seeds_alone():
    seeds = normalize(draw(0, 2, 4, 6))
    frame = frame_of(seeds, torch.tensor([2, 4]))
    assert torch.allclose(frame[0], normalize(seeds[0, :2].mean(0)))
    assert torch.allclose(frame[1], normalize(seeds[1].mean(0)))


def test_rotation_commutes_with_the_frame_map():
    """Offsets rotate with the world; the cosine to the frame does not change."""
    rotation = torch.linalg.qr(draw(1, 6, 6))[0]
    seeds, x, lengths = normalize(draw(2, 3, 4, 6)), draw(3, 3, 5, 6), torch.tensor([1, 3, 4])
    frame, turned = frame_of(seeds, lengths), frame_of(seeds @ rotation, lengths)
    assert torch.allclose(turned, frame @ rotation, atol=1e-9)
    plain, after = to_frame(x, frame), to_frame(x @ rotation, turned)
    assert torch.allclose(after[..., :-1], plain[..., :-1] @ rotation, atol=1e-9)
    assert torch.allclose(after[..., -1], plain[..., -1], atol=1e-9)
