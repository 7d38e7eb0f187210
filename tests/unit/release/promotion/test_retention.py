"""What was promoted, or bears an alias, or shares its run with such a version, is never removed."""

from __future__ import annotations

import pytest

from modit.cli import main
from modit.core.errors import ConfigError
from modit.release.promotion.retention import carry_out_retention, plan_retention
from modit.release.registry.refusals import Refused
from modit.release.registry.registry import MlflowRegistry
from tests.unit.release.world import World
from tests.unit.serve.bundles import Bundle


@pytest.fixture
def alone(tmp_path, sampler_file):
    """A world whose registry has nothing else: retention looks at all domains."""
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", f"file://{tmp_path}/artifacts")
    return World(tmp_path, registry, sampler_file)


def test_ancestors_aliases_and_the_newest_stay_and_the_rest_goes(alone: World, capsys):
    first = alone.promoted()
    second = alone.promoted()
    old = alone.version()
    failed = alone.version(status="FAIL")
    challenger, newest = alone.version(), alone.version(status="FAIL")
    alone.order("rollback")
    address = ["--registry", alone.registry.client.tracking_uri, "--keep", "1"]
    assert main(["retain", *address]) == 0
    said = capsys.readouterr().out
    assert f"removes modit-{alone.domain} version {old}\n" in said and alone.file(old, "index/index.faiss").exists()
    assert main(["retain", *address, "--delete"]) == 0
    left = [version.version for version in alone.registry.versions(alone.domain)]
    assert left == [first, second, challenger, newest]
    for version in (old, failed):
        for name in ("index", "catalog", "sampler", "bundle"):
            assert not alone.file(version, f"{name}/manifest.json").exists()
        assert alone.file(version, "verdict/verdict.json").exists()
    assert alone.serve().source.version == first
    alone.order("rollback", second)
    assert alone.serve().source.version == second
    _another_domain_of_the_run_keeps_index_and_catalogue(alone)
    _nothing_is_removed_while_log_and_registry_disagree(alone)


def _another_domain_of_the_run_keeps_index_and_catalogue(alone: World):
    run = alone.root / "runs" / "both"
    bundle = Bundle(str(run), alone.root / "scratch-both", alone.sampler_file, ["kept", "left"], 0)
    for domain in ("kept", "left"):
        alone.registry.register(bundle.submission(domain))
    other = Bundle(str(alone.root / "runs" / "other"), alone.root / "scratch-other", alone.sampler_file, ["left"], 1)
    alone.registry.register(other.submission("left"))
    plan = plan_retention(alone.registry, 1)
    assert [version.label for version in plan.dropped] == ["modit-left version 1"]
    carry_out_retention(alone.registry, plan)
    assert (run / "index" / "manifest.json").exists() and (run / "catalog" / "manifest.json").exists()
    assert not (run / "bundle" / "left").exists() and (run / "bundle" / "kept").exists()


def _nothing_is_removed_while_log_and_registry_disagree(alone: World):
    alone.registry.point_alias(alone.domain, "champion", 1)
    with pytest.raises(Refused, match="alias_moved"):
        plan_retention(alone.registry, 1)
    with pytest.raises(ConfigError, match="--keep 0"):
        plan_retention(alone.registry, 0)
