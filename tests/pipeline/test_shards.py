"""A sharded step gives the same bytes whatever the number of shards, also when shards die, come twice or at once."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from toycommand import command

from modit.core.errors import ArtifactError, ConfigError
from modit.core.shards import ShardParts
from modit.core.step import BUCKETS, WHOLE, Shard

COUNTS = (2, 3, 7, BUCKETS)


@pytest.fixture
def parted(toy):
    """A run that is ready for the sharded step, and a catalogue with something for most buckets."""

    def prepare(run):
        for step in ("read", "divide"):
            toy.runner(run).execute(step)
        return run

    (toy.folder / "catalogue" / "numbers.txt").write_text(" ".join(map(str, range(200))))
    return prepare


def spread(toy, run, shards, **options):
    """Statuses of the shards, one after the other."""
    return [toy.runner(run).execute("spread", "odd", shard, **options).status for shard in shards]


def manifest_of(toy, run):
    return toy.runner(run).store.get("spread_out", "odd")


def test_the_artifact_is_the_same_for_any_number_of_shards(toy, parted):
    run = parted(toy.folder / "one" / "a")
    spread(toy, run, [WHOLE])
    whole = manifest_of(toy, run)
    assert (len(whole.files), whole.summary["rows"]) == (BUCKETS, 100)
    for count in COUNTS:
        other = parted(toy.folder / f"of-{count}" / "a")
        assert spread(toy, other, Shard.all_of(count)) == ["part"] * (count - 1) + ["ran"]
        found = manifest_of(toy, other)
        assert (found.digest, found.key, found.files) == (whole.digest, whole.key, whole.files)
        assert (found.summary["rows"], found.summary["kinds"]) == (100, {"odd": 100})
        assert not (other / ".parts" / "spread.odd").exists()


def test_shards_may_come_in_any_order_and_what_is_there_is_not_done_again(toy, parted):
    run = parted(toy.folder / "runs" / "a")
    third, first, second = Shard(3, 3), Shard(1, 3), Shard(2, 3)
    assert spread(toy, run, [third, first, first, third]) == ["part"] * 4
    assert toy.runner(run).store.find("spread_out", "odd") is None
    assert spread(toy, run, [second, first, WHOLE, Shard(1, 7)]) == ["ran", "cached", "cached", "cached"]
    # The shard that came first left a note for all.
    assert manifest_of(toy, run).summary["first"] == "3/3"


def test_parts_of_another_number_of_shards_are_not_mixed_in(toy, parted):
    run, undisturbed = parted(toy.folder / "runs" / "a"), parted(toy.folder / "elsewhere" / "a")
    spread(toy, undisturbed, [WHOLE])
    assert spread(toy, run, [Shard(1, 2), *Shard.all_of(3)]) == ["part", "part", "part", "ran"]
    assert manifest_of(toy, run).digest == manifest_of(toy, undisturbed).digest
    assert not (run / ".parts" / "spread.odd").exists()


def test_a_shard_that_is_killed_and_repeated_gives_the_same_digest(toy, parted):
    run, undisturbed = parted(toy.folder / "runs" / "a"), parted(toy.folder / "elsewhere" / "a")
    spread(toy, undisturbed, [WHOLE])
    assert spread(toy, run, [Shard(1, 3), Shard(3, 3)]) == ["part", "part"]
    with command(toy, run, "spread", "--domain", "odd", "--shard", "2/3", TOY_PAUSE="1") as process:
        assert process.stdout.readline() == "paused\n", process.stderr.read()
        process.send_signal(signal.SIGKILL)
    assert toy.runner(run).store.find("spread_out", "odd") is None
    assert spread(toy, run, [Shard(2, 3)]) == ["ran"]
    assert manifest_of(toy, run).files == manifest_of(toy, undisturbed).files


def test_shards_that_run_at_once_join_once_and_say_so(toy, parted):
    run, undisturbed = parted(toy.folder / "runs" / "a"), parted(toy.folder / "elsewhere" / "a")
    spread(toy, undisturbed, [WHOLE])
    started = [command(toy, run, "spread", "--domain", "odd", "--shard", str(shard)) for shard in Shard.all_of(3)]
    lines = [json.loads(finished(process).splitlines()[-1]) for process in started]
    assert "ran" in {line["status"] for line in lines} <= {"ran", "part", "cached"}
    # Whoever was not the last names the part that it left.
    assert all(set(line["outputs"]["spread_out"]) == {"uri", "digest"} for line in lines)
    assert manifest_of(toy, run).digest == manifest_of(toy, undisturbed).digest


def finished(process: subprocess.Popen) -> str:
    output, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    return output


def test_a_changed_input_makes_all_shards_run_again(toy, parted):
    run = parted(toy.folder / "runs" / "a")
    spread(toy, run, Shard.all_of(2))
    before = manifest_of(toy, run)
    (toy.folder / "catalogue" / "numbers.txt").write_text(" ".join(map(str, range(300))))
    parted(run)
    assert spread(toy, run, Shard.all_of(2)) == ["part", "ran"]
    assert manifest_of(toy, run).summary["rows"] == 150 != before.summary["rows"]


def test_no_cache_does_every_shard_again(toy, parted):
    run = parted(toy.folder / "runs" / "a")
    spread(toy, run, Shard.all_of(2))
    created = (run / "spread_out" / "odd" / "00.json").stat().st_ino
    spread(toy, run, Shard.all_of(2), force=True)
    assert (run / "spread_out" / "odd" / "00.json").stat().st_ino != created


def test_another_run_reuses_what_shards_made(toy, parted):
    spread(toy, parted(toy.folder / "runs" / "a"), Shard.all_of(2))
    assert spread(toy, parted(toy.folder / "runs" / "b"), Shard.all_of(2)) == ["reused", "cached"]


def test_a_run_on_s3_is_joined_as_a_local_one(toy, parted, s3):
    run, local = parted("s3://bucket/runs/a"), parted(toy.folder / "elsewhere" / "a")
    spread(toy, local, [WHOLE])
    assert spread(toy, run, Shard.all_of(3)) == ["part", "part", "ran"]
    assert manifest_of(toy, run).digest == manifest_of(toy, local).digest
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket", Prefix="runs/a/.parts")


def test_a_shard_that_finds_the_parts_joined_by_another_machine_takes_its_word(toy, parted, s3, monkeypatch):
    run, join = parted("s3://bucket/runs/a"), ShardParts.join
    spread(toy, run, [Shard(1, 2)])

    def too_late(self, workspace):
        monkeypatch.setattr(ShardParts, "join", join)
        monkeypatch.setenv("MODIT_CACHE", str(toy.folder / "cache of another machine"))
        assert spread(toy, run, [Shard(1, 2)]) == ["ran"]
        join(self, workspace)

    monkeypatch.setattr(ShardParts, "join", too_late)
    assert spread(toy, run, [Shard(2, 2)]) == ["ran"]
    assert len(manifest_of(toy, run).files) == BUCKETS


def test_two_shards_with_a_file_of_one_name_are_refused(toy, parted, monkeypatch):
    def careless(context):
        (context.output("spread_out") / "all.json").write_text("[]")

    monkeypatch.setattr("toysteps.spread.run.run", careless)
    run = parted(toy.folder / "runs" / "a")
    with pytest.raises(ArtifactError, match=r"two shards wrote spread_out/all\.json"):
        spread(toy, run, Shard.all_of(2))


def test_a_step_that_is_not_sharded_takes_no_shard(toy):
    with pytest.raises(ConfigError, match="--shard 1/2: step 'read' is not sharded"):
        toy.runner(toy.folder / "runs" / "a").execute("read", None, Shard(1, 2))
