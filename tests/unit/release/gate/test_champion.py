"""The champion is fetched as it was registered, or said to be what it is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modit.core.errors import ArtifactError, ConfigError
from modit.data.catalog import Catalog
from modit.index.item_index import ItemIndex
from modit.release.gate.champion import (
    NONE,
    OTHER_SPACE,
    READY,
    UNREADABLE,
    Champion,
    fetch_champion,
    load_champion,
    named_champion,
)
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import CHAMPION
from modit.release.model_registry.refusals import Refused
from modit.release.promotion.promotion import Order, carry_out
from tests.unit.serve.bundles import Bundle


@pytest.fixture(scope="module")
def bundle(sampler_file, tmp_path_factory) -> Bundle:
    """For tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("champion")
    return Bundle(str(folder / "run"), folder, sampler_file, ("drama",))


def index_of(bundle: Bundle) -> ItemIndex:
    return ItemIndex.load(Path(bundle.run) / "index")


def today(bundle: Bundle, **changes) -> Catalog:
    return replace(bundle.catalog, **changes)


def test_where_nothing_was_promoted_there_is_none_and_no_registry_is_made(tmp_path, bundle):
    registry = f"sqlite:///{tmp_path}/mlflow.db"
    assert named_champion(registry, "drama") is None
    found = fetch_champion(None, "drama", bundle.catalog, tmp_path)
    assert (found.status, found.reason) == (NONE, "no version of modit-drama has the alias champion")
    assert Champion.load(tmp_path) == found and load_champion(found, tmp_path, index_of(bundle)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["champion.json"]


def test_a_registry_names_the_champion_of_each_domain(tmp_path, bundle):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry = MlflowRegistry(uri, f"file://{tmp_path}/artifacts")
    registry.register(bundle.submission("drama"))
    assert named_champion(uri, "drama") is None  # a challenger is no champion
    carry_out(registry, Order("approve", "drama", "ann", 1, bundle.digests("drama")["verdict"]))
    named = named_champion(uri, "drama")
    assert named is not None and (named.version, named.tags["run_uri"]) == (1, bundle.run)
    assert named_champion(uri, "crime") is None
    registry.point_alias("drama", CHAMPION, None)
    with pytest.raises(Refused, match="alias"):
        named_champion(uri, "drama")  # whoever moves the alias by hand does not choose whom the gate compares with


def test_a_file_that_is_no_database_is_an_error_and_not_a_first_run(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database, however often it is read")
    with pytest.raises(ConfigError, match="is not an MLflow database"):
        named_champion(f"sqlite:///{tmp_path}/mlflow.db", "drama")


def test_a_champion_is_kept_with_what_judging_it_takes(tmp_path, bundle):
    ids = bundle.catalog.item_ids.copy()
    ids[7] = "new-item"
    found = fetch_champion(bundle.named("drama", 3), "drama", today(bundle, item_ids=ids), tmp_path)
    assert (found.status, found.label, found.run) == (READY, "modit-drama/3", bundle.run)
    champion = load_champion(found, tmp_path, index_of(bundle))
    assert champion is not None and np.flatnonzero(champion.new_items).tolist() == [7]
    assert champion.retriever.sampler.info.maximum_seeds == 12
    assert set(found.facts) == {"status", "reason", "model", "version", "model_digest", "lost_items"}  # no address
    assert found.lost_items == pytest.approx(1 / len(ids))


def test_the_same_champion_gives_the_same_bytes(tmp_path, bundle):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fetch_champion(bundle.named("drama"), "drama", bundle.catalog, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"embeddings": "wider"}, "it takes embeddings of 8 numbers, today's have 9"),
        ({"embeddings": "turned"}, "300 items of both catalogues have other embeddings: median cosine -1.000"),
        ({"item_ids": "others"}, "only 0 of the compared items are in both catalogues"),
    ],
)
def test_a_champion_of_another_embedding_space_is_named_and_not_judged(tmp_path, bundle, change, reason):
    made = {
        "wider": np.ones((len(bundle.catalog), 9), np.float32) / 3,
        "turned": -bundle.catalog.embeddings,
        "others": np.char.add(bundle.catalog.item_ids, "-b"),
    }
    catalog = today(bundle, **{name: made[value] for name, value in change.items()})
    found = fetch_champion(bundle.named("drama"), "drama", catalog, tmp_path)
    assert (found.status, found.version) == (OTHER_SPACE, 1) and found.reason.startswith(reason)
    assert load_champion(found, tmp_path, index_of(bundle)) is None


def test_a_few_items_that_moved_make_no_other_space(tmp_path, bundle):
    vectors = bundle.catalog.embeddings.copy()
    vectors[:100] *= -1
    assert fetch_champion(bundle.named("drama"), "drama", today(bundle, embeddings=vectors), tmp_path).status == READY


@pytest.fixture
def broken(bundle, tmp_path) -> Path:
    """A copy of the run, to be damaged."""
    return shutil.copytree(bundle.run, tmp_path / "copy")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: shutil.rmtree(run), "no artifact at"),
        (lambda run: (run / "sampler/drama/sampler.onnx").write_bytes(b"short"), "is damaged"),
        (lambda run: (run / "catalog/embeddings.npy").unlink(), "is missing, though the manifest lists it"),
    ],
)
def test_a_champion_whose_files_are_gone_or_damaged_is_unreadable_and_not_none(
    bundle, broken, tmp_path, damage, reason
):
    damage(broken)
    (tmp_path / "out").mkdir()
    named = bundle.named("drama", 3, run_uri=str(broken))
    found = fetch_champion(named, "drama", bundle.catalog, tmp_path / "out")
    assert (found.status, found.label) == (UNREADABLE, "modit-drama/3") and reason in found.reason


def test_a_sampler_that_is_not_the_registered_one_is_unreadable(bundle, tmp_path):
    found = fetch_champion(bundle.named("drama", 3, sampler_digest="0" * 64), "drama", bundle.catalog, tmp_path)
    assert found.status == UNREADABLE and "the registry has 0000" in found.reason
    found = fetch_champion(replace(bundle.named("drama"), tags={}), "drama", bundle.catalog, tmp_path)
    assert found.status == UNREADABLE
    assert "has no tag run_uri, bundle_digest, sampler_digest, index_digest" in found.reason


def test_a_champion_file_with_other_fields_is_refused(tmp_path):
    (tmp_path / "champion.json").write_text('{"status": "none"}')
    with pytest.raises(ArtifactError, match="is not a Champion: it lacks reason, model"):
        Champion.load(tmp_path)
