"""`modit.load` answers as the service does, in this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import modit
from modit.core.errors import ConfigError
from modit.local import SeedsRetriever
from modit.release.model_registry.mlflow_model import signature_of
from modit.release.model_registry.registry_access import open_registry
from modit.serve.schema import (
    RecommendAnswer,
    RecommendRequest,
    RetrieveAnswer,
    RetrieveRequest,
    SearchAnswer,
    SearchRequest,
)


@pytest.fixture(scope="module")
def retriever(bundle):
    return modit.load(bundle.run, domain="drama")


@pytest.fixture(scope="module")
def ids(bundle):
    return bundle.catalog.item_ids


def served(client, **question):
    answer = client.post("/v1/retrieve", json={"domain": "drama"} | question)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows_of(table):
    """The rows of a table as the items of an answer."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


OPTIONS = (
    {},
    {"k": 3, "rerank": True},
    {"k": 50, "rerank": False, "guidance": 2.5},
    {"filter": {"include": {"attr_crime": False}, "exclude": {"title": "item-1"}}},
)


@pytest.mark.parametrize("options", OPTIONS)
def test_it_answers_what_the_service_answers(client, retriever, ids, options):
    expected = served(client, seeds={"item_ids": ids[:4].tolist()}, **options)["items"]
    assert rows_of(retriever.query(ids[:4], **options)) == [{"title": None, **item} for item in expected]


def test_vectors_are_seeds_as_ids_are(client, bundle, retriever):
    vectors = bundle.catalog.embeddings[5:9]
    expected = [item["item_id"] for item in served(client, seeds={"vectors": vectors.tolist()})["items"]]
    for given in (vectors, vectors.astype(float), vectors.tolist(), pd.DataFrame(vectors), list(vectors)):
        assert retriever.query(given)["item_id"].tolist() == expected


def test_many_seed_sets_are_answered_as_each_of_them_alone(bundle, retriever, ids):
    sets = [ids[:3].tolist(), ids[3:5].tolist(), ids[7:8].tolist()] * 30  # more than are answered at once
    found = retriever.query(sets, k=4, exclude=[ids[20]])
    for number, each in enumerate(sets[:3]):
        alone = retriever.query(each, k=4, exclude=[ids[20]])
        assert found[found["request"] == number].drop(columns="request").reset_index(drop=True).equals(alone)
    assert found["request"].tolist() == np.repeat(np.arange(90), 4).tolist()
    arrays = retriever.query(ids[:6].reshape(2, 3)), retriever.query(bundle.catalog.embeddings[:6].reshape(2, 3, -1))
    assert [table["request"].nunique() for table in arrays] == [2, 2]


def test_a_series_of_seed_sets_gives_its_labels(retriever, ids):
    found = retriever.query(pd.Series([ids[:2], ids[2:4]], index=["mine", "yours"]), k=2)
    assert found["request"].tolist() == ["mine", "mine", "yours", "yours"]
    assert "request" not in retriever.query(pd.Series(ids[:2]))


def test_the_query_vector_is_that_of_the_service(client, retriever, ids):
    expected = np.float32(served(client, seeds={"item_ids": ids[:4].tolist()}, return_query=True)["query"])
    assert np.array_equal(retriever.vectors(ids[:4]), expected)
    assert np.array_equal(retriever.vectors([ids[:4].tolist()]), expected[None])


@pytest.mark.parametrize(
    ("seeds", "options", "words"),
    [
        (["no-such-item"], {}, "no-such-item"),
        ([], {}, "number of seeds.item_ids cannot be 0"),
        (np.ones(8), {}, "nested 1 deep"),
        (np.full((2, 3, 7), 1.0), {}, "requests.0.seeds.vectors.0"),
        (np.full((1, 8), np.nan), {}, "seeds.vectors"),
        (["item-1"], {"k": 0}, "The k cannot be 0"),
        (["item-1"], {"k": "3"}, "The k cannot be '3'"),
        (["item-1"], {"filter": {"includes": {}}}, "filter.includes"),
    ],
)
def test_what_is_not_allowed_is_refused_by_the_name_of_its_field(retriever, seeds, options, words):
    with pytest.raises(ConfigError, match=words):
        retriever.query(seeds, **options)


def test_a_registry_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"missing.db: there is no such file; name another registry or set MLFLOW"):
        modit.load("models:/modit-drama@champion", registry=f"sqlite:///{tmp_path}/missing.db")
    assert not any(tmp_path.iterdir())


def test_a_run_is_loaded_by_domain_and_a_bundle_by_its_folder(bundle, retriever, ids):
    assert isinstance(retriever, SeedsRetriever)
    folder = Path(bundle.run) / "bundle" / "drama"
    assert modit.load(folder).query(ids[:2]).equals(retriever.query(ids[:2]))
    with pytest.raises(ConfigError, match="allowed: crime, drama"):
        modit.load(bundle.run)
    with pytest.raises(ConfigError, match="has no bundle"):
        modit.load(folder.parent.parent / "catalog")


@pytest.fixture(scope="module")
def registry(bundle, tmp_path_factory):
    """Address of a registry with a version of drama."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{folder}/mlflow.db")
        open_registry(str(folder / "run")).register(bundle.submission("drama"))
        yield uri


def test_a_registered_version_is_loaded_by_number_and_by_alias(registry, retriever, ids):
    for found in (modit.load("models:/modit-drama/1"), modit.load("models:/modit-drama@challenger", registry=registry)):
        assert found.release.label == "modit-drama version 1"
        assert found.query(ids[:2]).equals(retriever.query(ids[:2]))
    for name, words in {
        "models:/modit-drama@champion": "no version with the alias 'champion'; allowed: challenger",
        "models:/modit-noir/1": "noir",
        "models:/drama/1": "allowed: models:/modit-DOMAIN",
        "models:/modit-drama": "allowed: models:/modit-DOMAIN",
        "models:/modit-noir@champion": "allowed: modit-drama",
    }.items():
        with pytest.raises(ConfigError, match=words):
            modit.load(name, registry=registry)


def test_mlflow_loads_a_version_that_answers_what_the_service_answers(registry, client, ids):
    model = mlflow.pyfunc.load_model("models:/modit-drama/1")
    seeds = [{"item_ids": ids[:4].tolist()}, {"item_ids": ids[7:8].tolist()}]
    found = model.predict(pd.DataFrame({"seeds": seeds, "k": [5, 7], "rerank": [True, False]}))
    for number, asked in enumerate(({"k": 5, "rerank": True}, {"k": 7, "rerank": False})):
        assert found["items"][number] == [
            {name: value for name, value in item.items() if value is not None}
            for item in served(client, seeds=seeds[number], **asked)["items"]
        ]
    assert found["reranked"].tolist() == [True, False]


def test_the_model_of_a_version_says_what_it_takes_and_gives_by_example(registry, client, bundle):
    model = mlflow.pyfunc.load_model("models:/modit-drama/1")
    example = model.input_example
    assert example["k"].tolist() == [10]
    answer = model.predict(example)
    expected = served(client, seeds=example["seeds"][0])
    assert [item["item_id"] for item in answer["items"][0]] == [item["item_id"] for item in expected["items"]]
    assert not list(Path(mlflow.artifacts.download_artifacts("models:/modit-drama/1")).rglob("*.pkl"))


@pytest.mark.parametrize(
    ("domain", "request_class", "answer_class"),
    [
        ("drama", RetrieveRequest, RetrieveAnswer),
        ("next_item", RecommendRequest, RecommendAnswer),
        ("search", SearchRequest, SearchAnswer),
    ],
)
def test_the_columns_of_a_signature_are_fields_of_the_service(domain, request_class, answer_class):
    signature = signature_of(domain)
    taken = {column.name: column.required for column in signature.inputs}
    fields = request_class.model_fields
    assert taken == {
        name: fields[name].is_required() for name in fields if name not in ("domain", "filter", "return_query")
    }
    assert set(signature.outputs.input_names()) <= set(answer_class.model_fields)


def test_it_imports_no_torch_and_modit_alone_imports_nothing(bundle):
    code = f"""
import sys, modit
assert not {{"numpy", "pydantic", "onnxruntime"}} & sys.modules.keys(), "import modit is not light"
modit.load({bundle.run!r}, domain="drama").query(["item-1"], k=1)
assert not {{"torch", "fastapi", "mlflow", "feast"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
