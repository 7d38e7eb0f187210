import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.model.flow import (
    curvature_weight,
    euler_step,
    flow_matching_loss,
    geodesic,
    normalize,
    project_to_tangent,
    sample_noise,
    sample_time,
)

seeds = st.integers(0, 2**31)
times = st.floats(0.01, 0.99)
dimensions = st.integers(3, 24)


def pair(seed: int, dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise, target = normalize(torch.randn(2, dimension, generator=generator, dtype=torch.float64))
    return noise, target


@settings(max_examples=50, deadline=None)
@given(seeds, dimensions, times)
def test_path_stays_on_the_sphere_with_a_tangent_velocity_of_length_omega(seed, dimension, t):
    point = geodesic(*pair(seed, dimension), torch.tensor(t, dtype=torch.float64))
    assert point.position.norm().item() == pytest.approx(1, abs=1e-9)
    assert (point.position @ point.velocity).item() == pytest.approx(0, abs=1e-9)
    assert point.velocity.norm().item() == pytest.approx(point.angle.item(), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(seeds, dimensions, times)
def test_velocity_is_the_derivative_of_the_path(seed, dimension, t):
    noise, target = pair(seed, dimension)
    step = 1e-5
    ahead, here, behind = (
        geodesic(noise, target, torch.tensor(t + shift, dtype=torch.float64)) for shift in (step, 0, -step)
    )
    assert torch.allclose((ahead.position - behind.position) / (2 * step), here.velocity, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seeds, dimensions)
def test_path_goes_from_noise_to_target(seed, dimension):
    noise, target = pair(seed, dimension)
    start, end = (geodesic(noise, target, torch.tensor(t, dtype=torch.float64)).position for t in (0.0, 1.0))
    assert torch.allclose(start, noise, atol=1e-9)
    assert torch.allclose(end, target, atol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_path_between_equal_or_opposite_points_is_finite(sign):
    noise = normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    point = geodesic(noise, sign * noise, torch.full((4,), 0.3))
    assert torch.isfinite(point.position).all()
    assert torch.isfinite(point.velocity).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, math.pi), st.sampled_from(["remaining", "travelled"]))
def test_curvature_weight_is_in_the_unit_interval_and_one_where_nothing_is_left(t, angle, kind):
    time, omega = torch.tensor(t, dtype=torch.float64), torch.tensor(angle, dtype=torch.float64)
    weight = curvature_weight(time, omega, kind).item()
    assert 0 <= weight <= 1
    end = torch.tensor(1.0 if kind == "remaining" else 0.0, dtype=torch.float64)
    assert curvature_weight(end, omega, kind).item() == pytest.approx(1)


def test_curvature_weight_is_the_squared_sinc_of_the_remaining_angle():
    weight = curvature_weight(torch.tensor(0.25), torch.tensor(2.0), "remaining").item()
    assert weight == pytest.approx((math.sin(1.5) / 1.5) ** 2, rel=1e-6)
    assert curvature_weight(torch.tensor(0.25), torch.tensor(2.0), "none").item() == 1


def test_loss_is_zero_for_the_true_velocity_and_blind_to_its_radial_part():
    noise, target = pair(3, 12)
    time = torch.tensor(0.4, dtype=torch.float64)
    point = geodesic(noise, target, time)
    for predicted in (point.velocity, point.velocity + 7 * point.position):
        assert flow_matching_loss(predicted, point, time).item() == pytest.approx(0, abs=1e-12)


def test_loss_sums_over_dimensions_with_the_weight():
    point = geodesic(*pair(3, 12), torch.tensor(0.4, dtype=torch.float64))
    time, off = torch.tensor(0.4, dtype=torch.float64), project_to_tangent(torch.ones(12).double(), point.position)
    expected = curvature_weight(time, point.angle, "remaining") * off.square().sum()
    assert flow_matching_loss(point.velocity + off, point, time).item() == pytest.approx(expected.item())


def test_steps_stay_on_the_sphere():
    generator = torch.Generator().manual_seed(0)
    position = sample_noise((5, 9), generator)
    moved = euler_step(position, torch.randn(5, 9, generator=generator), 0.25)
    assert torch.allclose(moved.norm(dim=-1), torch.ones(5), atol=1e-6)


def test_noise_is_unit_and_times_are_inside_their_margin():
    generator = torch.Generator().manual_seed(0)
    assert torch.allclose(sample_noise((100, 7), generator).norm(dim=-1), torch.ones(100), atol=1e-6)
    drawn = sample_time((10_000,), generator)
    assert drawn.min() >= 1e-3
    assert drawn.max() <= 1 - 1e-3
    assert drawn.median().item() == pytest.approx(0.5, abs=0.03)


def test_rotation_commutes_with_path_loss_and_steps():
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(9, 9, generator=generator).double())[0]
    noise, target = pair(5, 9)
    time, predicted = torch.tensor(0.3).double(), torch.randn(9, generator=generator).double()
    point, turned = geodesic(noise, target, time), geodesic(noise @ rotation, target @ rotation, time)
    assert torch.allclose(turned.position, point.position @ rotation, atol=1e-9)
    assert torch.allclose(turned.velocity, point.velocity @ rotation, atol=1e-9)
    loss = flow_matching_loss(predicted, point, time)
    assert torch.allclose(flow_matching_loss(predicted @ rotation, turned, time), loss, atol=1e-9)
    moved = euler_step(noise @ rotation, predicted @ rotation, 0.25)
    assert torch.allclose(moved, euler_step(noise, predicted, 0.25) @ rotation, atol=1e-9)
