"""What became of a night: read from the artifacts of its run, the model registry, its index and the online store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.context import REFUSED_FOLDER
from modit.core.errors import ArtifactError, UnknownItemError
from modit.core.storage import Storage, digest_of
from modit.core.workspace import cache_folder
from modit.data.catalog import Catalog
from modit.data.data_docs import INDEX
from modit.data.nightly import OUTCOME_FILE
from modit.features.lookup import OnlineItems
from modit.features.store import open_store
from modit.features.tables import EMBEDDING_VIEW
from modit.index.item_index import ItemIndex
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.verdict import data_docs, read_verdict

Json = dict[str, Any]


@dataclass(frozen=True)
class NightResult:
    """What the artifacts of a run say; the fields after `data_docs` are empty where the night ended before the gate.

    Attributes:
        outcome: content of `outcome.json`.
        data_docs: address of the page.
        verdict: PASS or FAIL.
        registration: content of `registration.json`: domain -> model, version, status, alias.
        published: items whose embedding was new or had changed.
        removed: items that were taken out of the feature store.
    """

    outcome: Json
    data_docs: str
    verdict: str = ""
    registration: Json = field(default_factory=dict)
    published: int = 0
    removed: int = 0

    @property
    def versions(self) -> list[str]:
        """The registered versions, `MODEL/VERSION`."""
        entries = self.registration.values()
        return [f"{entry['model']}/{entry['version']}" for entry in entries if "version" in entry]


@dataclass(frozen=True)
class Observation:
    """What was seen right after a night. Later nights change it, so it is kept (`observe`).

    Attributes:
        of: digest of the result that it belongs to.
        aliases: `MODEL: ALIAS -> VERSION` of the whole registry, a line each.
        new: ids that the catalogue has and that of the accepted night before had not; empty where a night published
            nothing.
        removed: ids that it has no more.
        wrong: a sentence for each of them that index or online store answer otherwise.
    """

    of: str
    aliases: list[str]
    new: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read_result(run_uri: str) -> NightResult:
    """Reads what a run has written.

    Raises:
        ArtifactError: it ended before its logs were judged.
    """
    store = _store(run_uri)
    if store.find("validation") is None:
        refused = store.run.at(REFUSED_FOLDER, "validate_logs")
        outcome = refused.read_json(OUTCOME_FILE)
        if outcome is None:
            raise ArtifactError(f"{run_uri} has neither an artifact validation nor {REFUSED_FOLDER}/validate_logs")
        return NightResult(outcome, f"{refused.uri}/{INDEX}")
    outcome, docs = store.read_json("validation", OUTCOME_FILE), data_docs(run_uri)[0]
    if store.find("registration") is None:
        return NightResult(outcome, docs)
    published = store.get("features").summary
    return NightResult(
        outcome,
        docs,
        read_verdict(run_uri)["status"],
        store.read_json("registration", "registration.json"),
        published.get("written", {}).get(EMBEDDING_VIEW, 0),
        published.get("removed", {}).get(EMBEDDING_VIEW, 0),
    )


def observe(run_uri: str, result: NightResult, before: str | None, registry: str, notes: Storage) -> Observation:
    """Asks registry, index and online store; a night that was seen already is not asked again.

    Args:
        run_uri: the night's run.
        result: what it wrote.
        before: run of the accepted night before it, or None.
        registry: address of the MLflow registry.
        notes: folder that keeps what was seen.
    """
    name, of = f"{Storage(run_uri).name}.json", digest_of([result.outcome, result.registration])
    known = notes.read_json(name)
    if known and known["of"] == of:
        return Observation(**known)
    seen = Observation(of, aliases(registry))
    if result.registration:
        new, removed = _changed_items(run_uri, before)
        seen = Observation(of, seen.aliases, new, removed, list(_contradictions(run_uri, new, removed)))
    notes.write_json(name, asdict(seen))
    return seen


def aliases(registry: str) -> list[str]:
    """All aliases of a registry, `MODEL: ALIAS -> VERSION`."""
    models = MlflowRegistry(registry).client.search_registered_models()
    return sorted(f"{m.name}: {alias} -> {version}" for m in models for alias, version in m.aliases.items())


def _changed_items(run_uri: str, before: str | None) -> tuple[list[str], list[str]]:
    now, then = _item_ids(run_uri), _item_ids(before) if before else set()
    return sorted(now - then), sorted(then - now)


def _item_ids(run_uri: str) -> set[str]:
    return set(Catalog.load(_store(run_uri).read("catalog")).item_ids.tolist())


def _contradictions(run_uri: str, new: list[str], removed: list[str]) -> Iterator[str]:
    store = _store(run_uri)
    indexed = set(ItemIndex.load(store.read("index")).item_ids.tolist())
    online = OnlineItems(open_store(Path(store.get("features").summary["store"])))
    for item in new:
        if item not in indexed:
            yield f"{item} is new and not in the index"
        if not _is_online(online, item):
            yield f"{item} is new and not in the online store"
    for item in removed:
        if item in indexed:
            yield f"{item} is removed and in the index"
        if _is_online(online, item):
            yield f"{item} is removed and in the online store"


def _is_online(online: OnlineItems, item: str) -> bool:
    try:
        online.embeddings([item])
    except UnknownItemError:
        return False
    return True


def _store(run_uri: str) -> ArtifactStore:
    return ArtifactStore(Storage(run_uri), cache_folder())
