import numpy as np
import pytest

from modit.data.vectors import unit
from modit.metric import predictor as module
from modit.metric.predictor import DomainGeometry, fit_geometry

ITEMS, DIMENSION = 3_000, 8
FIELDS = ("density", "attribute", "mean", "whitening")


@pytest.fixture
def planted():
    """The direction along which the attribute grows."""
    return unit(np.random.default_rng(1).standard_normal(DIMENSION))


@pytest.fixture
def embeddings():
    """Off-centre, and spread unevenly: neither the mean nor the covariance is trivial."""
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((ITEMS, DIMENSION)) * np.linspace(0.3, 1.0, DIMENSION) + 0.4)


@pytest.fixture
def positive(embeddings, planted):
    score = embeddings @ planted
    return score > np.quantile(score, 0.7)


@pytest.fixture
def trainable():
    return np.random.default_rng(2).random(ITEMS) < 0.6


@pytest.fixture
def fitted(embeddings, positive, trainable):
    return fit_geometry(embeddings, positive, trainable, np.arange(DIMENSION), seed=0)


def test_probe_recovers_a_planted_direction_whatever_the_density_direction(fitted, planted):
    assert fitted.attribute @ planted > 0.98
    assert abs(fitted.density @ planted) < 0.9


def test_directions_are_unit_and_density_keeps_the_predictors(fitted):
    assert np.linalg.norm(fitted.attribute) == pytest.approx(1, abs=1e-6)
    assert np.allclose(fitted.density, np.arange(DIMENSION) / np.linalg.norm(np.arange(DIMENSION)), atol=1e-6)


def test_whitening_is_the_inverse_covariance_regularised_by_its_mean_eigenvalue(fitted, embeddings, trainable):
    items = embeddings[trainable].astype(np.float64)
    offsets = items - items.mean(0)
    covariance = offsets.T @ offsets / (len(items) - 1)
    regularised = covariance + np.linalg.eigvalsh(covariance).mean() * np.eye(DIMENSION)
    assert np.allclose(fitted.whitening @ regularised, np.eye(DIMENSION), atol=1e-4)
    assert np.allclose(fitted.mean, items.mean(0), atol=1e-6)


def test_whitening_is_symmetric_and_positive_definite(fitted):
    assert np.allclose(fitted.whitening, fitted.whitening.T, rtol=1e-5)
    assert np.linalg.eigvalsh(fitted.whitening.astype(np.float64)).min() > 0


def test_items_without_spread_along_an_axis_still_have_a_whitening(embeddings, positive, trainable):
    flat = embeddings.copy()
    flat[:, 0] = 0
    fitted = fit_geometry(flat, positive, trainable, np.arange(DIMENSION), seed=0)
    assert np.isfinite(fitted.whitening).all()
    assert np.linalg.eigvalsh(fitted.whitening.astype(np.float64)).min() > 0


@pytest.mark.parametrize("sample", [module._SAMPLE, 500], ids=["all", "sampled"])
def test_held_out_items_have_no_influence(embeddings, positive, trainable, sample, monkeypatch):
    monkeypatch.setattr(module, "_SAMPLE", sample)
    rng = np.random.default_rng(3)
    other_embeddings = np.where(trainable[:, None], embeddings, unit(rng.standard_normal(embeddings.shape)))
    other_positive = np.where(trainable, positive, ~positive)
    plain, other, shown = (
        fit_geometry(items, labels, rows, np.arange(DIMENSION), seed=0)
        for items, labels, rows in (
            (embeddings, positive, trainable),
            (other_embeddings, other_positive, trainable),
            (other_embeddings, other_positive, np.ones(ITEMS, bool)),
        )
    )
    for name in FIELDS:
        assert getattr(plain, name).tobytes() == getattr(other, name).tobytes(), name
    for name in FIELDS[1:]:  # they would have had one, had they been read
        assert not np.allclose(getattr(plain, name), getattr(shown, name), atol=1e-3), name


def test_a_sample_depends_on_its_seed_alone_and_estimates_the_same(
    embeddings, positive, trainable, fitted, monkeypatch
):
    monkeypatch.setattr(module, "_SAMPLE", 1_000)
    one, same, other = (
        fit_geometry(embeddings, positive, trainable, np.arange(DIMENSION), seed=seed) for seed in (1, 1, 2)
    )
    assert all(getattr(one, name).tobytes() == getattr(same, name).tobytes() for name in FIELDS)
    assert not np.array_equal(one.mean, other.mean)
    assert np.allclose(one.mean, fitted.mean, atol=0.05)
    assert one.attribute @ fitted.attribute > 0.98


def test_geometry_comes_back_as_it_was(fitted, tmp_path):
    fitted.save(tmp_path / "geometry.npz")
    loaded = DomainGeometry.load(tmp_path / "geometry.npz")
    for name in FIELDS:
        stored, expected = getattr(loaded, name), getattr(fitted, name)
        assert stored.dtype == np.float32
        assert np.array_equal(stored, expected)
