"""What a folder of a run or a catalogue holds."""

from __future__ import annotations

from pathlib import Path

from modit.core.storage import Storage


def test_files_behind_a_link_to_a_folder_are_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "kept" / "date=2026-01-01").mkdir(parents=True)
    (tmp_path / "kept" / "date=2026-01-01" / "part.parquet").write_bytes(b"four")
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "items.parquet").write_bytes(b"")
    (tmp_path / "catalogue" / "interactions").symlink_to(tmp_path / "kept")
    storage = Storage(str(tmp_path / "catalogue"))
    assert storage.sizes() == {"items.parquet": 0, "interactions/date=2026-01-01/part.parquet": 4}
    assert storage.sha256("interactions/date=2026-01-01/part.parquet")


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert Storage(str(tmp_path / "none")).sizes() == {}


def test_a_file_that_vanishes_while_the_folder_is_listed_is_left_out(tmp_path: Path, monkeypatch) -> None:
    for name in ("kept.json", "gone.json"):
        (tmp_path / name).write_bytes(b"four")
    stat = Path.stat

    def vanishing(path: Path, **options):
        if path.name == "gone.json":
            path.unlink(missing_ok=True)
        return stat(path, **options)

    storage = Storage(str(tmp_path))
    monkeypatch.setattr(Path, "stat", vanishing)
    assert storage.sizes() == {"kept.json": 4}
