"""The figures that Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from modit.serve.feature_seeds import RESULTS, SKIPPED
from modit.serve.releases import FAILED, LOADED, State

SEED_SOURCES = ("features", "bundle")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The figures of one service.

    Attributes:
        in_flight: requests that are being answered.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        """Prepares the figures, all at zero.

        Args:
            state: gives the state of the releases at the moment of reading.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "modit_requests", "Requests that were answered", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "modit_request_seconds",
            "Time from the arrival of a request to the end of its answer",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "modit_requests_in_flight", "Requests that are being answered now", registry=self._registry
        )
        self._reloads = Counter(
            "modit_reloads",
            "Attempts to load a release, and failures to ask the registry",
            ["result"],
            registry=self._registry,
        )
        for result in (LOADED, FAILED):
            self._reloads.labels(result)  # so that a rate has a zero to start from
        self._logged = Counter(
            "modit_logged_requests",
            "Requests by ids, by what became of them in the log",
            ["result"],
            registry=self._registry,
        )
        self._seeds = Counter(
            "modit_seeds", "Seeds by id, by where they were read", ["source"], registry=self._registry
        )
        for source in SEED_SOURCES:
            self._seeds.labels(source)
        self._lookups = Counter(
            "modit_feature_lookups", "Look-ups of seeds in the feature store", ["result"], registry=self._registry
        )
        for result in RESULTS:
            self._lookups.labels(result)
        self._lookup_seconds = Histogram(
            "modit_feature_lookup_seconds",
            "Time of a look-up in the feature store",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_ReleaseFigures(state))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def reloaded(self, result: str) -> None:
        """Counts an attempt: "loaded" or "failed"."""
        self._reloads.labels(result).inc()

    def logged(self, result: str) -> None:
        """Counts an answered request by what became of it in the log."""
        self._logged.labels(result).inc()

    def looked_up(self, result: str, seconds: float) -> None:
        """Counts a look-up in the feature store by its result, and its time where the store was asked."""
        self._lookups.labels(result).inc()
        if result != SKIPPED:
            self._lookup_seconds.observe(seconds)

    def seeds_read(self, features: int, bundle: int) -> None:
        """Counts the seeds of a request by where their vectors were read."""
        for source, count in zip(SEED_SOURCES, (features, bundle), strict=True):
            self._seeds.labels(source).inc(count)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _ReleaseFigures:
    """Read from the state, so that a release that was replaced leaves no figure behind."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "modit_release_info",
            "1 for each release that answers",
            labels=["domain", "model", "version", "index_digest"],
        )
        loaded = GaugeMetricFamily(
            "modit_release_loaded_timestamp_seconds", "When the release was loaded, Unix time", labels=["domain"]
        )
        for domain, release in self._state().releases.items():
            source = release.source
            info.add_metric([domain, source.model, str(source.version), source.index_digest], 1)
            loaded.add_metric([domain], release.loaded.timestamp())
        yield info
        yield loaded
