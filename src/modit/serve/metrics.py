"""The metrics that Prometheus reads at /metrics. One process runs one service, so they are those of the module."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from modit.release.bundle.release import Release

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

REQUESTS = Counter("modit_requests", "Requests that were answered", ["route", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "modit_request_seconds",
    "Time from the arrival of a request to the end of its answer",
    ["route"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("modit_requests_in_flight", "Requests that are being answered now", registry=REGISTRY)
RELOADS = Counter(
    "modit_reloads", "Attempts to load a release, and failures to ask the registry", ["result"], registry=REGISTRY
)
LOGGED = Counter(
    "modit_logged_requests", "Requests by ids, by what became of them in the log", ["result"], registry=REGISTRY
)
SEEDS = Counter("modit_seeds", "Seeds by id, by where they were read", ["source"], registry=REGISTRY)
SESSION_ITEMS = Counter(
    "modit_session_items", "Items of sessions, by whether the catalogue has them", ["result"], registry=REGISTRY
)
QUERY_WORDS = Counter(
    "modit_query_words",
    "Words of texts and intents, by whether a release knows them",
    ["result"],
    registry=REGISTRY,
)
LOOKUPS = Counter("modit_feature_lookups", "Look-ups of seeds in the feature store", ["result"], registry=REGISTRY)
LOOKUP_SECONDS = Histogram(
    "modit_feature_lookup_seconds", "Time of a look-up in the feature store", buckets=_BUCKETS, registry=REGISTRY
)

# A rate needs a zero to start from.
for _counter, _values in (
    (RELOADS, ("loaded", "failed")),
    (SEEDS, ("features", "bundle")),
    (SESSION_ITEMS, ("known", "unknown")),
    (QUERY_WORDS, ("known", "unknown")),
    (LOOKUPS, ("answered", "refused", "failed", "skipped")),
):
    for _value in _values:
        _counter.labels(_value)


def release_metrics(releases: Iterable[Release]) -> CollectorRegistry:
    """The metrics of the releases that answer now; those that were replaced leave no figure behind."""
    registry = CollectorRegistry()
    labels = ["domain", "model", "version", "index_digest"]
    info = Gauge("modit_release_info", "1 for each release of a model that answers", labels, registry=registry)
    name, meaning = "modit_release_loaded_timestamp_seconds", "When the release was loaded, Unix time"
    loaded = Gauge(name, meaning, ["domain"], registry=registry)
    name, meaning = "modit_untrained_verdicts", "Verdicts that answer for a domain that nothing is trained for"
    verdicts = Gauge(name, meaning, ["domain", "verdict"], registry=registry)
    for release in releases:
        source = release.source
        if release.untrained is None:
            info.labels(source.domain, source.model, str(source.version), source.index_digest).set(1)
        else:
            verdicts.labels(source.domain, "positive").set(release.untrained.positives)
            verdicts.labels(source.domain, "negative").set(release.untrained.negatives)
        loaded.labels(source.domain).set(release.loaded.timestamp())
    return registry


def metrics_text(releases: Iterable[Release]) -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY) + generate_latest(release_metrics(releases))
