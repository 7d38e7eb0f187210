"""An input on S3 gives the catalogue that the same files in a folder give."""

from __future__ import annotations

from pathlib import Path

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.core.storage import Storage
from tests.worlds import small_world

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def validated(catalogue, run):
    conf = {"catalogue": str(catalogue), "preset": "tiny", "window": {"start": "2026-01-03", "end": "2026-01-10"}}
    StepRunner(REGISTRY, str(run), PARAMS, conf).execute("validate_logs")
    return {name: Storage(str(run)).at(name).read_json("manifest.json")["digest"] for name in ("catalog", "quarantine")}


def test_a_catalogue_on_s3_is_read_as_one_in_a_folder_and_only_the_days_of_the_window(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MODIT_CACHE", str(tmp_path / "cache"))
    world = small_world(tmp_path / "world")
    for file in filter(Path.is_file, world.rglob("*")):
        s3.upload_file(str(file), "bucket", f"shops/world/{file.relative_to(world)}")
    fetched, download = [], Storage.download
    monkeypatch.setattr(Storage, "download", lambda *a: (fetched.append(a[1]), download(*a))[1])
    assert validated("s3://bucket/shops/world", tmp_path / "remote") == validated(world, tmp_path / "local")
    days = {name.split("date=")[1][:10] for name in fetched if "date=" in name}
    assert days and min(days) >= "2026-01-01" and max(days) < "2026-01-10"
