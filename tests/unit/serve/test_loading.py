"""A release is loaded only if everything in its bundle is what the model version was registered with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from tests.unit.serve.bundles import make_stage, of_domain


def load(bundle, domain="drama", others=(), **tags):
    return load_release(ReleaseSource.of(bundle.named(domain, 2, **tags)), others)


def test_domains_of_one_index_share_it_in_memory(bundle, make_bundle):
    drama = load(bundle)
    crime = load(bundle, "crime", [drama])
    assert crime.items is drama.items and crime.sampler is not drama.sampler
    other = load(make_bundle(seed=1), others=[drama, crime])
    assert other.items is not drama.items and other.items.index.digest != drama.items.index.digest


@pytest.mark.parametrize("name", ["bundle_digest", "sampler_digest", "index_digest"])
def test_a_run_that_is_not_the_one_of_the_tags_is_refused_by_name(bundle, name):
    message = f"{name} of .*/bundle/drama is .*; modit-drama version 2 was registered with {'5' * 64}"
    with pytest.raises(ArtifactError, match=message):
        load(bundle, **{name: "5" * 64})


def test_a_run_that_is_not_there_is_refused_by_name(bundle):
    with pytest.raises(ArtifactError, match="no artifact at /nowhere/run/bundle/drama"):
        load(bundle, run_uri="/nowhere/run")


def test_a_version_without_its_tags_is_refused_by_name(bundle):
    named = bundle.named("drama")
    kept = {name: value for name, value in named.tags.items() if name != "bundle_digest"}
    with pytest.raises(ArtifactError, match="modit-drama version 1 has no tag bundle_digest"):
        ReleaseSource.of(replace(named, tags=kept))


def test_a_damaged_file_is_refused_by_name(make_bundle):
    bundle = make_bundle()
    path = Path(bundle.run) / "catalog" / "embeddings.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"embeddings.npy is damaged"):
        load(bundle)


def test_an_artifact_that_was_made_again_is_refused_by_the_name_of_the_file(make_bundle):
    bundle, other = make_bundle(), make_bundle(seed=1)
    for name, file in (("catalog", "embeddings.npy"), ("index", "canaries.npy")):
        kept, place = bundle.scratch / name, Path(bundle.run) / name
        shutil.move(place, kept)
        shutil.copytree(Path(other.run) / name, place)
        with pytest.raises(ArtifactError, match=f"{name}/{file} is not that of the bundle: it is .*, the bundle has"):
            load(bundle)
        shutil.rmtree(place)
        shutil.move(kept, place)
    assert load(bundle)


def test_an_index_that_the_sampler_was_not_made_for_makes_no_bundle(make_bundle):
    bundle, other = make_bundle(), make_bundle(seed=1)
    shutil.rmtree(Path(bundle.run) / "index")
    shutil.copytree(Path(other.run) / "index", Path(bundle.run) / "index")
    with pytest.raises(ArtifactError, match="artifact 'index' is .*; the sampler of drama was made for"):
        bundle.bind("drama")


def test_the_sampler_of_another_domain_makes_no_bundle(make_bundle, sampler_file):
    bundle = make_bundle()
    made_of = bundle.store.get("sampler", "drama").key_parts["inputs"]
    bundle.put("sampler", "drama", lambda folder: of_domain(sampler_file, None, "crime", folder), made_of)
    with pytest.raises(ArtifactError, match=r"sampler.onnx is of domain crime; needed is drama"):
        bundle.bind("drama")


def test_ids_of_the_catalogue_that_are_not_those_of_the_index_make_no_bundle(make_bundle):
    bundle = make_bundle()
    shuffled = replace(bundle.catalog, item_ids=bundle.catalog.item_ids[::-1])
    made_of = {**bundle.store.get("sampler", "drama").key_parts["inputs"]}
    made_of["catalog"] = bundle.put("catalog", None, shuffled.save).digest
    onnx = (Path(bundle.run) / "sampler" / "drama" / "sampler.onnx").read_bytes()
    bundle.put("sampler", "drama", lambda folder: (folder / "sampler.onnx").write_bytes(onnx), made_of)
    bundle.put("second_stage", "drama", make_stage(0, False, bundle.catalog).save, made_of)
    with pytest.raises(ArtifactError, match=r"items.parquet: its item_id are not those of the index"):
        bundle.bind("drama")


def test_items_without_titles_have_none(make_bundle):
    bundle = make_bundle()
    digest = bundle.put("catalog", None, replace(bundle.catalog, titles=None).save).digest
    onnx = (Path(bundle.run) / "sampler" / "drama" / "sampler.onnx").read_bytes()
    made_of = {"index": bundle.store.get("index").digest, "catalog": digest}
    bundle.put("sampler", "drama", lambda folder: (folder / "sampler.onnx").write_bytes(onnx), made_of)
    bundle.put("second_stage", "drama", make_stage(0, False, bundle.catalog).save, made_of)
    bundle.bind("drama")
    assert load(bundle).items.titles_of(np.arange(2)) == [None, None]


def test_a_release_stays_whole_when_its_run_is_removed(make_bundle):
    bundle = make_bundle()
    release = load(bundle)
    shutil.rmtree(bundle.run)
    assert np.array_equal(release.items.embeddings[:], bundle.catalog.embeddings)


def test_serving_needs_no_torch(bundle):
    tags = json.dumps(bundle.named("drama").tags)
    code = f"""
import sys
sys.modules["torch"] = None  # importing it fails
import modit.serve.run
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.release.model_registry.model_version import NamedVersion
from modit.inference.retrieval import Query
release = load_release(ReleaseSource.of(NamedVersion("modit-drama", 1, "champion", {tags})))
print(len(release.retriever.retrieve([Query(release.items.embeddings[:3], 20)])[0].rows))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "20"


def test_what_searches_is_imported_with_the_first_release_and_not_by_a_request(bundle):
    tags = json.dumps(bundle.named("drama").tags)
    code = f"""
import sys, time
from fastapi.testclient import TestClient
from modit.release.model_registry.model_version import NamedVersion
from modit.serve.app import create_app
from modit.serve.settings import Settings
named = []
with TestClient(create_app(Settings("unused", reload_seconds=0.05), lambda: named)) as client:
    def until(status):
        while client.get("/readyz").status_code != status:
            time.sleep(0.02)
    asked = {{"domain": "drama", "seeds": {{"item_ids": ["item-1", "item-2"]}}}}
    until(503)
    print(client.post("/v1/retrieve", json=asked).status_code, client.get("/explore").status_code)
    print(sorted({{"duckdb", "faiss", "mlflow", "onnxruntime", "pyarrow"}} & sys.modules.keys()))
    named.append(NamedVersion("modit-drama", 1, "champion", {tags}))
    until(200)
    before = set(sys.modules)
    print(client.post("/v1/retrieve", json=asked).status_code, sorted(set(sys.modules) - before))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines() == ["404 404", "[]", "200 []"]
