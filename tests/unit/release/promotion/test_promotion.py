"""Promotion moves the champion by one entry of the release log, and the registry's aliases follow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from modit.cli import main
from modit.release.model_registry.release_log import Approval, ReleaseLog, following, parse_approval, previous_version
from modit.release.model_registry.release_state import ChampionResolver
from tests.unit.release.world import World


def uri(world: World) -> str:
    return world.registry.client.tracking_uri


def test_the_champion_moves_on_and_back_and_what_was_rejected_stays_rejected(world: World):
    first, second, third = world.promoted(), world.promoted(), world.promoted()
    assert world.aliases == {"champion": third, "previous": second}
    world.order("rollback")
    assert world.aliases == {"champion": second, "previous": first}
    assert world.serve().source.version == second
    fourth = world.version()
    assert world.aliases["challenger"] == fourth
    world.order("reject", fourth)
    assert "challenger" not in world.aliases and world.champion == second
    again = world.registry.register(world.bundles[fourth].submission(world.domain))
    assert again.version == fourth and "challenger" not in world.aliases
    entries = world.log.read()
    assert [entry.action for entry in entries] == ["approve"] * 3 + ["rollback", "reject"]
    assert (entries[3].champion_before, entries[3].champion_after) == (third, second)


def test_an_entry_says_who_when_from_to_why_and_on_what_grounds(world: World):
    version = world.version()
    approval = Approval("airflow", "airflow:night/review", "")
    entry = world.approve(version, who="ann", reason="", approval=approval)
    stored = json.loads((world.root / "runs" / ".releases" / world.domain / "00000001.json").read_text())
    assert stored.pop("digest") == entry.digest
    bundle = world.bundles[version].manifest(world.domain)
    assert stored == {
        "number": 1,
        "time": entry.time,
        "who": "ann",
        "action": "approve",
        "version": version,
        "champion_before": None,
        "champion_after": version,
        "verdict_digest": bundle.verdict_digest,
        "bundle_digest": bundle.digest,
        "window": {"start": "2026-01-01", "end": "2026-01-31"},
        "reason": "",
        "approval": {"source": "airflow", "id": "airflow:night/review", "given": ""},
        "before": "0" * 64,
    }


def test_a_task_that_is_tried_again_with_its_approval_gets_the_entry_that_it_made(world: World):
    version, approval = world.version(), Approval("airflow", "airflow:night/review")
    assert world.approve(version, approval=approval) == world.approve(version, approval=approval)
    assert len(world.log.read()) == 1


def test_a_review_that_nobody_answered_rejects_and_keeps_nobody_from_approving_later(world: World):
    version, late = world.version(), Approval("timeout", "timeout:night/review")
    entry = world.order("reject", version, who="MODIT_REVIEW_HOURS=8", approval=late)
    assert world.aliases == {} and world.champion is None
    # Another review of the same version that nobody answers, and one while which it was promoted elsewhere.
    again = Approval("timeout", "timeout:by-hand/review")
    assert world.order("reject", version, who="MODIT_REVIEW_HOURS=8", approval=again) == entry
    promoted = world.approve(version)
    assert world.order("reject", version, who="MODIT_REVIEW_HOURS=8", approval=again) == promoted
    assert [each.action for each in world.log.read()] == ["reject", "approve"] and world.champion == version


def test_an_override_promotes_what_failed_and_marks_the_version_and_its_card(world: World):
    version = world.version(status="FAIL")
    world.order("override", version, who="ann", reason="the old one answers nothing")
    named = world.registry.named_version(world.domain, "champion")
    assert named.version == version and named.tags["override"] == "ann: the old one answers nothing"
    card = world.registry.card(named)
    assert card.startswith("> **Promoted by override** by ann") and f"# modit-{world.domain}" in card
    assert world.serve().source.version == version


def test_newer_data_and_the_same_data_may_follow_and_undated_data_comes_first(world: World):
    world.promoted(ends=None)
    dated = world.promoted()
    same = world.promoted()
    assert world.aliases == {"champion": same, "previous": dated}


KILLED = """
import os, signal, sys
from modit.release.promotion import promotion
from modit.release.model_registry.mlflow_registry import MlflowRegistry
promotion.mirror = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
order = promotion.Order("approve", sys.argv[2], "ann", int(sys.argv[3]), sys.argv[4])
promotion.carry_out(MlflowRegistry(sys.argv[1]), order, lease_seconds=0.1)
"""


@pytest.mark.parametrize("who", ["the next promotion", "the service"])
def test_what_a_process_left_that_was_killed_after_its_entry_is_put_right(world: World, who: str):
    version = world.version()
    verdict = world.bundles[version].manifest(world.domain).verdict_digest
    arguments = [uri(world), world.domain, str(version), verdict]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert world.champion == version and world.aliases == {"challenger": version}
    if who == "the service":
        ChampionResolver(world.registry, "champion").versions()
    else:
        world.order("reject", world.version())
    assert world.aliases == {"champion": version}


def test_repair_puts_aliases_back_that_were_moved_by_hand(world: World, capsys):
    first, second = world.promoted(), world.version()
    world.registry.point_alias(world.domain, "champion", second)
    asked = ["releases", "--domain", world.domain, "--registry", uri(world)]
    assert main(asked) == 1
    assert f"PROBLEM: refused (alias_moved): alias champion of modit-{world.domain}" in capsys.readouterr().out
    assert main([*asked, "--repair"]) == 0
    assert world.aliases["champion"] == first


def test_the_commands_do_what_they_say_and_say_what_they_did(world: World, capsys):
    where = ["--registry", uri(world), "--by", "ann"]
    first, second = world.version(), world.version(status="FAIL", champion=1)
    verdicts = [world.bundles[number].manifest(world.domain).verdict_digest for number in (first, second)]
    model = f"modit-{world.domain}"
    assert main(["approve", f"{model}/{first}", "--verdict", verdicts[0], *where, "--approval", "airflow:n/r"]) == 0
    assert capsys.readouterr().out == f"approve of {model} version 1 is entry 1; the champion is version 1\n"
    assert main(["approve", f"{model}/{second}", "--verdict", verdicts[1], *where]) == 1
    assert "modit: refused (not_passed): the verdict on" in capsys.readouterr().err
    assert main(["override", f"{model}/{second}", "--verdict", verdicts[1], *where, "--reason", "demo"]) == 0
    assert main(["rollback", world.domain, *where, "--reason", "worse"]) == 0
    third = world.version()
    assert main(["reject", f"{model}/{third}", *where, "--reason", "odd"]) == 0
    capsys.readouterr()
    assert main(["releases", "--domain", world.domain, "--registry", uri(world), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["champion"], found["previous"], found["challenger"]) == (first, None, None)
    assert [entry["action"] for entry in found["entries"]] == ["approve", "override", "rollback", "reject"]
    assert found["versions"][1]["override"] == "ann: demo" and found["problem"] is None
    assert main(["releases", "--domain", world.domain, "--registry", uri(world)]) == 0
    text = capsys.readouterr().out
    assert "1  20" in text and "approve 1, champion - -> 1  by ann (airflow airflow:n/r)" in text


def test_an_approval_by_configuration_is_an_automatic_promotion(world: World, capsys):
    version = world.version()
    verdict = world.bundles[version].manifest(world.domain).verdict_digest
    order = ["approve", f"modit-{world.domain}/{version}", "--verdict", verdict, "--by", "nightly_retrain"]
    assert main([*order, "--approval", "configuration:night-1", "--registry", uri(world)]) == 0
    assert world.log.read()[0].action == "auto"


def test_an_alias_instead_of_a_number_is_refused_by_the_command_line(world: World, capsys):
    order = ["approve", f"modit-{world.domain}/challenger", "--verdict", "0" * 64, "--by", "ann"]
    assert main([*order, "--registry", uri(world)]) == 1
    assert "MODEL_VERSION" in capsys.readouterr().err


def test_a_line_of_champions_forgets_what_was_rolled_back_from(tmp_path):
    from modit.core.storage import Storage
    from modit.release.model_registry.release_log import LogEntry

    log = ReleaseLog(Storage(str(tmp_path)))
    for action, version, expected in (
        ("approve", 1, None),
        ("approve", 2, 1),
        ("override", 3, 2),
        ("rollback", 2, 1),
        ("reject", 4, 1),
        ("rollback", 3, 2),  # forward again, by its number
        ("auto", 5, 3),
        ("rollback", 1, None),
    ):
        entry = LogEntry(0, "now", "ann", action, version, None, None, "", "", None, "why")
        log.append(following(log.read(), entry))
        assert previous_version(log.read()) == expected, (action, version)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("", "cli"),
        ("airflow:run/task", "airflow"),
        ("configuration:x", "configuration"),
        ("timeout:run/task", "timeout"),
        ("7", "cli"),
    ],
)
def test_an_approval_says_where_it_came_from(text, source):
    assert parse_approval(text) == Approval(source, text, "")


def test_a_service_that_asks_again_sees_each_move_and_reads_the_log_only_then(world: World, monkeypatch):
    first, reads, read = world.promoted(), [], ReleaseLog.read
    monkeypatch.setattr(ReleaseLog, "read", lambda log: reads.append(log.uri) or read(log))
    agreement = ChampionResolver(world.registry, "champion")

    def asked() -> list[int]:
        reads.clear()
        return [each.version for each in agreement.versions() if each.domain == world.domain]

    assert asked() == [first] and reads.count(world.log.uri) == 1
    assert asked() == [first] and reads.count(world.log.uri) == 0
    second = world.promoted()
    assert asked() == [second] and reads.count(world.log.uri) == 1
    world.registry.point_alias(world.domain, "champion", first)
    (found,) = [each for each in agreement.versions() if each.domain == world.domain]
    assert "alias_moved" in str(found.error)
