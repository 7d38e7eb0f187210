"""What an attacker does to the files of a run. Who knows how artifacts are sealed makes the manifest agree, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modit.release.bundle.bundle import Bundle as BundleManifest
from tests.unit.release.world import World, write_again


def edit_json(path: Path, change: Callable[[Any], None], *, seal: bool = False) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    if seal:
        write_again(path)


def edit_array(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))
    write_again(path)


def pass_it(world: World, version: int, *, seal: bool) -> None:
    def change(verdict: dict) -> None:
        verdict["domains"][world.domain] |= {"status": "PASS", "reasons": ["It is fine."]}

    edit_json(world.file(version, "verdict/verdict.json"), change, seal=seal)


def rebuild_bundle(world: World, version: int) -> str:
    """Makes a bundle anew around files that were tampered with; all of its digests agree. Gives the verdict's."""
    world.bundles[version].bind(world.domain)
    return world.bundles[version].manifest(world.domain).verdict_digest


def rename_service(world: World, version: int) -> None:
    """Makes bundle.json name another feature service, with a digest that fits."""
    folder = world.file(version, "bundle/bundle.json").parent
    replace(BundleManifest.load(folder), feature_service={"name": "other", "digest": "0" * 64}).save(folder)
    write_again(folder / "bundle.json")


def truncate(world: World, version: int) -> None:
    """Cuts the ONNX file short."""
    path = world.file(version, "sampler/sampler.onnx")
    path.write_bytes(path.read_bytes()[:-2000])


def copy_artifact(world: World, version: int, name: str, **how: object) -> None:
    """Puts an artifact of another run, whole and sound, in place of the version's."""
    other = world.version(**how)
    target = world.file(version, name)
    shutil.rmtree(target)
    shutil.copytree(world.file(other, name), target)
