"""A release of a domain that nothing is trained for: a file of verdicts, over the catalogue and index of a release."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage, digest_of
from modit.data.catalog import ATTRIBUTE_PREFIX, NOT_SCORED, POSITIVE
from modit.data.verdict_file import read_verdicts
from modit.inference.items import Items
from modit.inference.second_stage import ServedSecondStage
from modit.metric.attribute_model import LOGISTIC
from modit.metric.evidence import KnownVerdicts
from modit.release.bundle.release import SeedsRelease, UntrainedFacts
from modit.release.untrained_answer import untrained_domain

# What stands in the place of a model's name and alias.
UNTRAINED = "untrained"


def sha256_of_verdicts(file: str) -> str:
    """Digest of a file of verdicts, which tells whether it has changed.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return Storage(file).sha256()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}; allowed: a file that is there") from error


def make_untrained_release(domain: str, file: str, base: SeedsRelease) -> SeedsRelease:
    """Makes what answers for a domain that has only verdicts: no digest of it is registered, and no gate has judged it.

    Args:
        domain: Its name.
        file: Address of the verdicts, as `read_verdicts` takes it.
        base: A release of another domain, whose catalogue and index are searched; the trained domains of its run vote.

    Raises:
        ArtifactError: The run has no file of the vote, an artifact of it is damaged, or there is no file of verdicts.
        ConfigError: No domain of the run has a readout and a sampler.
        ContractError: The file of verdicts has a fault.
        InsufficientDataError: It has fewer than five verdicts of a kind.
    """
    given = read_verdicts(file, base.items.index.item_ids, domain)
    known, positive = given != NOT_SCORED, given == POSITIVE
    items = _with_verdicts(base.items, domain, pa.array(positive, mask=~known))
    trained = [name.removeprefix(ATTRIBUTE_PREFIX) for name in base.items.columns if name.startswith(ATTRIBUTE_PREFIX)]
    verdicts = KnownVerdicts(items.embeddings, positive, known)
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        store = ArtifactStore(Storage(base.source.run_uri), Path(folder))
        found = untrained_domain(store, trained, domain, verdicts, items.index)
    return replace(
        base,
        source=replace(base.source, model=UNTRAINED, version=0, alias=UNTRAINED, domain=domain),
        sampler=found.retriever.sampler,
        retriever=found.retriever,
        items=items,
        loaded=datetime.now(UTC),
        examples=None,
        simple=None,
        second_stage=ServedSecondStage(found.reranker, found.log_odds, True, LOGISTIC),
        untrained=UntrainedFacts(int(verdicts.positives.sum()), int(verdicts.negatives.sum())),
    )


def _with_verdicts(items: Items, domain: str, verdicts: pa.Array) -> Items:
    """The same items with the verdicts of one more domain; their digests differ, so no other release shares them."""
    column = ATTRIBUTE_PREFIX + domain
    index, catalog = items.digests
    digest = digest_of([catalog, column])
    return replace(items, columns={**items.columns, column: pa.chunked_array([verdicts])}, digests=(index, digest))
