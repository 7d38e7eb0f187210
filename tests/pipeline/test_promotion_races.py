"""Of several processes that promote at the same moment exactly one wins, on a local folder and on S3."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from modit.core.errors import RunBusyError
from modit.core.locks import Lease
from modit.core.storage import Storage
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import LogEntry, ReleaseLog, following
from modit.release.model_registry.release_state import read_release_state
from tests.unit.serve.bundles import Bundle

APPEND = """
import sys
from modit.core.storage import Storage
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import LogEntry, ReleaseLog, following
log = ReleaseLog(Storage(sys.argv[1]))
entry = LogEntry(0, "now", sys.argv[2], "approve", 1, None, None, "", "", None, "")
entry = following(log.read(), entry)
print("ready", flush=True)
sys.stdin.readline()
try:
    log.append(entry)
    print("won")
except Refused as refused:
    print(refused.name)
"""
APPROVE = """
import sys
from modit.core.errors import RunBusyError
from modit.release.promotion.promotion import Order, carry_out
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.mlflow_registry import MlflowRegistry
registry = MlflowRegistry(sys.argv[1])
registry.domains()
domain = sys.argv[3]
version = registry.version(domain, int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
try:
    carry_out(registry, Order("approve", domain, "ann", version.version, version.tags["verdict_digest"]))
    print("won")
except RunBusyError:
    print("busy")
except Refused as refused:
    print(refused.name)
"""


def raced(code: str, *arguments: list[str]) -> list[str]:
    """What each process says that goes on when all are ready."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen([sys.executable, "-c", code, *given], **pipes) for given in arguments]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(processes)
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=300)[0].strip() for process in processes]


@pytest.mark.parametrize("place", ["local", "s3"])
def test_exactly_one_writer_makes_the_next_entry(place, tmp_path, request):
    if place == "s3":
        request.getfixturevalue("s3")
    root = str(tmp_path / "log") if place == "local" else "s3://bucket/.releases/drama"
    said = raced(APPEND, *([root, f"writer-{number}"] for number in range(4)))
    assert sorted(said) == ["concurrent_promotion"] * 3 + ["won"]
    (entry,) = ReleaseLog(Storage(root)).read()
    assert entry.who == f"writer-{said.index('won')}"


def test_a_writer_whose_answer_was_lost_has_made_its_entry(s3, store):
    log, store.lost = ReleaseLog(Storage("s3://bucket/.releases/drama")), 1
    entry = following([], LogEntry(0, "now", "ann", "approve", 1, None, None, "", "", None, ""))
    log.append(entry)
    assert store.lost == 0 and log.read() == [entry]
    with pytest.raises(Refused, match="concurrent_promotion"):
        log.append(replace(entry, who="bob"))


def test_who_takes_a_lease_and_does_not_hear_of_it_holds_it(s3, store):
    place, store.lost = Storage("s3://bucket/.releases/drama/.lease"), 1
    with Lease(place, "ann", "promoting", 60.0).held():
        assert store.lost == 0
        with pytest.raises(RunBusyError, match="ann is promoting"), Lease(place, "bob", "promoting", 60.0).held():
            pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a registry, once for both: its tables take seconds."""
    folder = tmp_path_factory.mktemp("registry")
    MlflowRegistry(f"sqlite:///{folder}/mlflow.db", f"file://{folder}/artifacts").experiment_id()
    return f"sqlite:///{folder}/mlflow.db"


@pytest.mark.parametrize("place", ["local", "s3"])
def test_exactly_one_of_two_promotions_at_once_wins(place, address, sampler_file, tmp_path, request):
    """Whole promotions: lease, checks of real bundles, log and aliases."""
    if place == "s3":
        request.getfixturevalue("s3")
    runs = str(tmp_path / "runs") if place == "local" else "s3://bucket/runs"
    registry = MlflowRegistry(address)
    for number in (1, 2):
        bundle = Bundle(f"{runs}/{number}", tmp_path / f"{number}", sampler_file, [place], order=number)
        registry.register(bundle.submission(place))
    said = raced(APPROVE, *([address, str(number), place] for number in (1, 2)))
    assert said.count("won") == 1
    assert set(said) <= {"won", "busy", "stale_verdict", "concurrent_promotion"}
    winner = said.index("won") + 1
    standing = read_release_state(registry, place)
    assert [entry.version for entry in standing.entries] == [winner]
    assert standing.aliases["champion"] == winner
