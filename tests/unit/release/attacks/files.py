"""Promoting a version whose files are not what was registered."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow.parquet as pq

from tests.unit.release.attacks.attack import Attacks
from tests.unit.release.attacks.edits import (
    copy_artifact,
    edit_array,
    edit_json,
    pass_it,
    rebuild_bundle,
    rename_service,
    truncate,
)
from tests.unit.release.world import World, write_again

ATTACKS = Attacks()


def tampered(words: str, act: Callable[[World, int], None]) -> None:
    """Approving a version whose files were tampered with."""

    @ATTACKS.add(words, "broken_bundle")
    def approve(world: World) -> str:
        version = world.version()
        act(world, version)
        return world.refused("broken_bundle", world.approve, version)


def _failed(world: World, *, seal: bool) -> int:
    """A version that failed, with a verdict that was edited to PASS."""
    version = world.version(status="FAIL")
    pass_it(world, version, seal=seal)
    return version


@ATTACKS.add("the verdict is edited to PASS", "broken_bundle")
def edited_verdict(world: World) -> str:
    return world.refused("broken_bundle", world.approve, _failed(world, seal=False))


@ATTACKS.add("the verdict is edited to PASS, and the manifest beside it made to agree", "broken_bundle")
def sealed_verdict(world: World) -> str:
    return world.refused("broken_bundle", world.approve, _failed(world, seal=True))


@ATTACKS.add("the verdict is edited to PASS, manifest and bundle made anew around it", "broken_bundle")
def rebuilt_verdict(world: World) -> str:
    version = _failed(world, seal=True)
    rebuild_bundle(world, version)
    return world.refused("broken_bundle", world.approve, version)


@ATTACKS.add("the same, and its new digest is given with the order", "other_verdict")
def verdict_given(world: World) -> str:
    version = _failed(world, seal=True)
    return world.refused("other_verdict", world.approve, version, verdict=rebuild_bundle(world, version))


@ATTACKS.add("the same, and the registry's tag verdict_digest is edited too", "broken_bundle")
def verdict_tagged(world: World) -> str:
    version = _failed(world, seal=True)
    given = rebuild_bundle(world, version)
    world.tag(version, "verdict_digest", given)
    return world.refused("broken_bundle", world.approve, version, verdict=given)


def _edit_report(world: World, version: int) -> None:
    def change(report: dict) -> None:
        report["domains"][world.domain]["splits"]["item_holdout"]["rows"][0]["joint"] = 0.99

    edit_json(world.file(version, "report/report.json"), change, seal=True)


def _edit_card(world: World, version: int) -> None:
    path = world.file(version, "bundle/model_card.md")
    path.write_text(path.read_text().replace("PASS", "excellent"))
    write_again(path)


def _edit_manifest(world: World, version: int) -> None:
    path = world.file(version, "bundle/bundle.json")
    edit_json(path, lambda bundle: bundle["feature_service"].update(name="other"), seal=True)


def _other_weights(world: World, version: int) -> None:
    path = world.file(version, "sampler/sampler.onnx")
    path.write_bytes(path.read_bytes() + b"\0")
    write_again(path)


def _wrong_ids(world: World, version: int) -> None:
    path = world.file(version, "catalog/items.parquet")
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "item_id", table["item_id"].combine_chunks()[::-1]), path)
    write_again(path)


def _wrong_index_ids(world: World, version: int) -> None:
    edit_array(world.file(version, "index/item_ids.npy"), lambda ids: ids[::-1])


def _other_space(world: World, version: int) -> None:
    edit_array(world.file(version, "catalog/embeddings.npy"), lambda embeddings: embeddings[:, ::-1])


def _edit_canaries(world: World, version: int) -> None:
    path = world.file(version, "bundle/canaries.json")
    edit_json(path, lambda canaries: canaries[0]["items"].reverse(), seal=True)


def _lose_cases(world: World, version: int) -> None:
    world.file(version, "cases/item_holdout.npz").unlink()


tampered("the report is edited, and the manifest made to agree", _edit_report)
tampered("the model card is edited", _edit_card)
tampered("bundle.json names another feature service", _edit_manifest)
tampered("the same, with a digest that fits", rename_service)
tampered("the ONNX file is cut short", truncate)
tampered("the ONNX file is another one, and the manifest made to agree", _other_weights)
tampered("the index is that of another run, whole and sound", lambda w, v: copy_artifact(w, v, "index"))
tampered("the catalogue's ids are in another order than the index's", _wrong_ids)
tampered("the ids of the index are in another order", _wrong_index_ids)
tampered("the embeddings are of another space", _other_space)
tampered("the stored answers of a canary are edited", _edit_canaries)
tampered("evaluation cases are missing", _lose_cases)


@ATTACKS.add("a whole bundle of another space, registered and passed as it should be", "other_space")
def other_space(world: World) -> str:
    world.promoted()
    return world.refused("other_space", world.approve, world.version(seed=1))
