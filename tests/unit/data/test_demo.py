"""The demo world: the same bytes for the same parameters, the input contract, and the regime of the paper's Table 2."""

import dataclasses
import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from modit.cli import main
from modit.core.errors import ConfigError
from modit.data.demo import DemoParameters, write_demo_world
from modit.data.demo.geometry import CHUNK_ITEMS, chunk_count, draw_items, make_geometry
from modit.data.demo.sessions import Shelf, sessions_of_day
from modit.data.demo.titles import pattern_names
from modit.data.validate import validate_logs
from tests.regime import measure_regime

SMALL = DemoParameters(items=5_000, days=3)
REGIME = DemoParameters(items=8_000, days=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "world"
    write_demo_world(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def catalog(world, tmp_path_factory):
    return validate_logs(world, tmp_path_factory.mktemp("quarantine"))


@pytest.fixture(scope="module")
def regime_items():
    geometry = make_geometry(REGIME)
    chunk = draw_items(REGIME, geometry, 0)
    return chunk.embeddings, dict(zip(REGIME.domain_names, chunk.attributes, strict=True))


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_same_parameters_give_the_same_bytes(world, tmp_path):
    write_demo_world(tmp_path / "again", SMALL)
    assert _contents(tmp_path / "again") == _contents(world)


def test_another_seed_gives_another_world(world, tmp_path):
    write_demo_world(tmp_path / "other", dataclasses.replace(SMALL, seed=1))
    other, this = _contents(tmp_path / "other"), _contents(world)
    assert all(other[name] != content for name, content in this.items())


def test_a_world_passes_its_own_contract_with_nothing_set_aside(catalog, world):
    found, report = catalog
    assert (report.items, report.dimension) == (5_000, 64)
    assert found.domains == ["popular", "quality", "safety"]
    assert report.interactions.quarantined == {}
    assert report.interactions.rows == json.loads((world / "world.json").read_text())["interactions"]
    assert report.interactions.sequences == 2_500


def test_a_chunk_of_items_depends_on_no_other_chunk(tmp_path):
    parameters = DemoParameters(items=CHUNK_ITEMS + 5_000, days=1)
    write_demo_world(tmp_path / "world", parameters)
    written = pq.read_table(tmp_path / "world" / "items.parquet", columns=["embedding"])[CHUNK_ITEMS:]["embedding"]
    alone = draw_items(parameters, make_geometry(parameters), 1)
    assert chunk_count(parameters) == 2
    assert np.array_equal(np.array(written.to_pylist(), dtype=np.float32), alone.embeddings)


def test_each_partition_holds_its_own_day_only(world):
    folders = sorted((world / "interactions").iterdir())
    assert [folder.name for folder in folders] == ["date=2026-01-01", "date=2026-01-02", "date=2026-01-03"]
    for folder in folders:
        times = pq.ParquetFile(folder / "part.parquet").read()["timestamp"].to_pylist()
        assert {time.date() for time in times} == {date.fromisoformat(folder.name.removeprefix("date="))}


def test_sessions_stay_mostly_inside_a_pattern_and_then_its_super_pattern(catalog):
    sequences = catalog[0].sequences
    geometry = make_geometry(SMALL)
    patterns = draw_items(SMALL, geometry, 0).patterns
    same_pattern, same_super = [], []
    for index in range(len(sequences)):
        visited = patterns[sequences[index]]
        home = np.bincount(visited).argmax()
        same_pattern.append((visited == home).mean())
        same_super.append((geometry.super_pattern[visited] == geometry.super_pattern[home]).mean())
    assert 0.75 < np.mean(same_pattern) < 0.95
    assert np.mean(same_super) > np.mean(same_pattern) + 0.05


def test_popularity_is_heavy_tailed_and_the_popular_attribute_follows_it(catalog):
    found = catalog[0]
    met = np.sort(np.bincount(found.sequences.items, minlength=len(found)))[::-1]
    assert met[: len(found) // 20].sum() > 0.3 * met.sum()
    counts = np.bincount(found.sequences.items, minlength=len(found))
    popular = found.positive("popular")
    assert counts[popular].mean() > 3 * counts[~popular].mean()
    assert counts[found.positive("quality")].mean() < 1.5 * counts.mean()


def test_popularity_weighted_draws_follow_the_weights():
    shelf = Shelf(np.zeros(3, np.int32), np.array([1.0, 2.0, 7.0], np.float32), np.zeros(1, np.int64))
    drawn = shelf.draw(np.full(20_000, 2), np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), [0.1, 0.2, 0.7], atol=0.01)


def test_the_sessions_of_the_days_add_up():
    parameters = DemoParameters(items=5_003, days=7, sessions_per_item=0.37)
    per_day = [sessions_of_day(parameters, day) for day in range(7)]
    assert sum(per_day) == round(0.37 * 5_003)
    assert max(per_day) - min(per_day) <= 1


def test_titles_name_the_pattern_and_every_attribute(catalog):
    found = catalog[0]
    names = pattern_names(make_geometry(SMALL).super_pattern)
    patterns = draw_items(SMALL, make_geometry(SMALL), 0).patterns
    words = {"quality": "handpicked", "popular": "bestseller", "safety": "certified"}
    for row in range(300):
        title = str(found.titles[row])
        assert title.startswith(f"{names[patterns[row]]} #{row:06d}")
        for domain, word in words.items():
            assert (word in title) == found.positive(domain)[row]


@pytest.mark.parametrize("items", [20_000, 1_000_000])
def test_no_two_patterns_share_a_name(items):
    names = pattern_names(make_geometry(DemoParameters(items=items, dimension=16)).super_pattern)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("domain", REGIME.domain_names)
def test_averaging_keeps_the_pattern_and_misses_a_dense_region_that_is_there(domain, regime_items):
    embeddings, attributes = regime_items
    regime = measure_regime(embeddings, attributes[domain])
    assert 0.06 <= regime.share <= 0.15
    assert 0.78 <= regime.average.same <= 0.95
    assert 0.025 <= regime.average.joint <= 0.15
    assert regime.tail.joint >= 1.5 * regime.average.joint
    assert 0.5 <= regime.spearman <= 0.8


def test_without_a_shared_direction_a_linear_map_predicts_density_worse():
    shared, local = (_mean_spearman(dataclasses.replace(REGIME, shared_direction=weight)) for weight in (0.9, 0.0))
    assert shared > local + 0.2


def _mean_spearman(parameters: DemoParameters) -> float:
    chunk = draw_items(parameters, make_geometry(parameters), 0)
    return float(np.mean([measure_regime(chunk.embeddings, column, cases=3).spearman for column in chunk.attributes]))


@pytest.mark.parametrize(("name", "value"), [("items", 4_999), ("domains", 9), ("shared_direction", 1.1), ("days", 0)])
def test_parameters_out_of_range_are_named_with_their_range(name, value):
    with pytest.raises(ConfigError, match=rf"{name} must be in \[.*\], is {value}"):
        DemoParameters(**{name: value})


ARGUMENTS = ["demo-world", "--items", "5000", "--days", "1", "--out"]


def test_the_command_writes_once_and_then_says_that_there_is_nothing_to_do(tmp_path, capsys):
    out = tmp_path / "deep" / "world"
    assert main([*ARGUMENTS, str(out)]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main([*ARGUMENTS, str(out)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_the_command_refuses_to_replace_another_world_or_folder(world, tmp_path, capsys):
    assert main([*ARGUMENTS, str(world)]) == 1
    assert "holds another demo world" in capsys.readouterr().err
    assert main([*ARGUMENTS, str(tmp_path)]) == 1
    assert "is no demo world" in capsys.readouterr().err


def test_a_world_that_was_interrupted_is_written_anew(tmp_path, world):
    partial = tmp_path / "world.partial"
    (partial / "interactions" / "date=2025-12-31").mkdir(parents=True)
    write_demo_world(tmp_path / "world", SMALL)
    assert _contents(tmp_path / "world") == _contents(world)
    assert not partial.exists()


NONLINEAR = DemoParameters(items=20_000, domains=4, days=1, nonlinear_domains=3)


def test_domains_that_are_not_linear_have_their_share_and_no_linear_map_finds_them():
    chunk = draw_items(NONLINEAR, make_geometry(NONLINEAR), 0)
    train = np.arange(len(chunk.patterns)) % 2 == 0
    scores = []
    for share, positive in zip(NONLINEAR.shares, chunk.attributes, strict=True):
        assert 0.7 * share < positive.mean() < 1.4 * share
        probe = LogisticRegression(max_iter=500).fit(chunk.embeddings[train], positive[train])
        scores.append(roc_auc_score(positive[~train], probe.decision_function(chunk.embeddings[~train])))
    linear, *others = scores
    assert linear > 0.7
    assert max(others) < 0.65


@pytest.mark.parametrize("domain", [1, 2, 3])
def test_a_shape_says_where_in_its_pattern_the_attribute_is(domain):
    geometry = make_geometry(NONLINEAR)
    chunk = draw_items(NONLINEAR, geometry, 0)
    offsets = chunk.embeddings - geometry.centres[chunk.patterns]
    first, second = (
        np.einsum("nd,nd->n", offsets, directions[domain, chunk.patterns])
        for directions in (geometry.directions, geometry.second_directions)
    )
    shape = {1: np.abs(first), 2: np.hypot(first, second), 3: np.sign(first * second)}[domain]
    positive = chunk.attributes[domain]
    assert shape[positive].mean() > shape[~positive].mean() + 0.3 * shape.std()


def test_verdicts_beyond_the_scored_share_are_null_and_nothing_else_changes(tmp_path):
    worlds = {share: DemoParameters(items=5_000, days=1, scored_share=share) for share in (1.0, 0.1)}
    tables = {}
    for share, parameters in worlds.items():
        write_demo_world(tmp_path / str(share), parameters)
        tables[share] = pq.read_table(tmp_path / str(share) / "items.parquet")
    assert tables[0.1]["embedding"].equals(tables[1.0]["embedding"])
    for domain in worlds[0.1].domain_names:
        part, whole = (tables[share][f"attr_{domain}"].to_pylist() for share in (0.1, 1.0))
        known = [verdict is not None for verdict in part]
        assert 0.08 < np.mean(known) < 0.12
        assert all(one == other for one, other, there in zip(part, whole, known, strict=True) if there)
    scored = [
        [verdict is not None for verdict in tables[0.1][f"attr_{name}"].to_pylist()] for name in ("quality", "safety")
    ]
    assert scored[0] != scored[1]


def test_more_domains_that_are_not_linear_than_domains_are_refused():
    with pytest.raises(ConfigError, match="nonlinear_domains must be at most the 2 domains, is 3"):
        DemoParameters(domains=2, nonlinear_domains=3)
