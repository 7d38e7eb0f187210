"""`modit exporter`: the newest runs of a run root as metrics for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modit.monitor.runs import RunFacts
from modit.monitor.watch import RunWatcher, Sight

# Of runs: name -> (help, labels); each is a gauge.
RUN_METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "modit_run_info": ("What a run is: 1.", ("run", "catalogue", "preset", "state")),
    "modit_run_started_timestamp_seconds": ("When run.json was written.", ("run", "catalogue")),
    "modit_run_finished_timestamp_seconds": ("When a run ended, whatever it came to.", ("run", "catalogue", "state")),
    "modit_run_duration_seconds": ("From start to end of a run that has ended.", ("run", "catalogue", "state")),
    "modit_verdict": ("The gate's word on a domain: 1.", ("run", "catalogue", "domain", "status")),
    "modit_quarantine_share": ("Rows set aside over rows in the window, 0 to 1.", ("run", "catalogue", "table")),
    "modit_step_seconds": ("How long a step worked.", ("run", "step", "domain")),
}
# Of the exporter itself.
OWN_METRICS = {
    "modit_runs": "Runs under the run root.",
    "modit_exporter_unreadable_runs": "Newest runs that could not be read.",
    "modit_exporter_last_look_timestamp_seconds": "When the run root was last read.",
    "modit_exporter_failures_total": "How often the run root could not be read.",
}

Sample = tuple[str, tuple[str, ...], float]


class RunCollector(Collector):
    """Turns the facts of the newest runs into metrics."""

    def __init__(self, watcher: RunWatcher) -> None:
        """Prepares the collector; nothing is read yet.

        Args:
            watcher: Of the run root.
        """
        self._watcher = watcher

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        sight = self._watcher.sight()
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in RUN_METRICS.items()}
        for facts in sight.runs:
            for name, labels, value in samples_of(facts):
                families[name].add_metric(labels, value)
        return [*families.values(), *_own(sight)]

    def describe(self) -> Iterable[Metric]:
        """No metric, so that registering does not read the run root."""
        return []


def samples_of(facts: RunFacts) -> Iterator[Sample]:
    """The samples of a run: metric, values of its labels, value."""
    run, of_run = facts.name, (facts.name, facts.catalogue)
    yield "modit_run_info", (*of_run, facts.preset, facts.state), 1.0
    yield "modit_run_started_timestamp_seconds", of_run, facts.started
    if facts.finished is not None:
        yield "modit_run_finished_timestamp_seconds", (*of_run, facts.state), facts.finished
        # A time of the store and one of a worker: their clocks may differ by a little.
        yield "modit_run_duration_seconds", (*of_run, facts.state), max(0.0, facts.finished - facts.started)
    for domain, status in facts.verdicts.items():
        yield "modit_verdict", (*of_run, domain, status), 1.0
    for table, share in facts.quarantine.items():
        yield "modit_quarantine_share", (*of_run, table), share
    for (step, domain), seconds in facts.steps.items():
        yield "modit_step_seconds", (run, step, domain), seconds


def _own(sight: Sight) -> Iterator[Metric]:
    values = dict(zip(OWN_METRICS, (sight.count, sight.unreadable, sight.seen, sight.failures), strict=True))
    for name, value in values.items():
        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        yield family(name, OWN_METRICS[name], value=value)


def serve(runs: str, host: str, port: int, newest: int) -> None:
    """Answers `GET /metrics` until the process ends.

    Args:
        runs: The run root, a path or an address like s3://.
        host: Address to listen on.
        port: 1 to 65535.
        newest: Number of runs to read.
    """
    watcher = RunWatcher(runs, newest)
    watcher.sight()  # the first reading asks for the start of every run
    registry = CollectorRegistry()
    registry.register(RunCollector(watcher))
    start_http_server(port, host, registry)
    print(f"metrics of {runs} on http://{host}:{port}/metrics", flush=True)
    while True:
        time.sleep(3600)
