"""Pipelines without domains take a catalogue without verdicts and embeddings; all others refuse it as ever."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.core.errors import ContractError
from modit.data.check import check
from modit.data.text_vectors import text_vectors
from modit.data.validate import validate_logs


@pytest.fixture
def texts_only(tables, source):
    """Twelve items with titles alone, and their sequences under the name of public data sets."""
    del tables.items["attr_quality"], tables.items["embedding"]
    titles = [f"{kind} {shade}" for kind in ("red lipstick", "hand soap", "hair brush") for shade in "abcd"]
    tables.items["title"] = pa.array([None, "", *titles[2:]])
    tables.items["keyphrase"] = pa.array(titles)
    tables.write(source)
    (source / "interactions.parquet").rename(source / "sequences.parquet")
    return source


def test_vectors_are_made_from_titles_and_from_the_description_where_a_title_is_empty(texts_only, quarantine):
    catalog, report = validate_logs(texts_only, quarantine, needs_domains=False)
    assert (len(catalog), catalog.domains, report.items_quarantined) == (12, [], {})
    np.testing.assert_allclose(np.linalg.norm(catalog.embeddings, axis=1), 1.0, atol=1e-6)
    near = catalog.embeddings @ catalog.embeddings.T
    assert near[0, 1:4].min() > near[0, 4:].max()  # item 0 has no title; its description names a lipstick
    assert len(catalog.sequences) == 4


def test_the_same_texts_give_the_same_bytes(texts_only, quarantine):
    first, again = (validate_logs(texts_only, quarantine, needs_domains=False)[0] for _ in range(2))
    assert first.embeddings.tobytes() == again.embeddings.tobytes()


def test_a_pipeline_with_domains_refuses_it_by_name(texts_only, quarantine):
    with pytest.raises(ContractError, match=r"(?s)attribute_present.*'embedding'.*missing"):
        validate_logs(texts_only, quarantine)
    assert REGISTRY.needs_domains("retrain")


def test_check_says_which_pipelines_would_take_it_and_why_others_would_not(texts_only):
    text, is_taken = check(texts_only)
    assert is_taken
    assert "a run of a pipeline without domains would take it." in text
    assert "embeddings of 10 numbers, made from title and description" in text
    assert "Pipelines with domains, such as retrain, would refuse it" in text
    assert "rule attribute_present" in text


def test_items_without_text_or_embedding_are_refused(tables, source, quarantine):
    for name in ("attr_quality", "embedding", "title"):
        del tables.items[name]
    tables.write(source)
    with pytest.raises(ContractError, match="text_present.*no embedding, no title, no description; columns are"):
        validate_logs(source, quarantine, needs_domains=False)
    text, is_taken = check(source)
    assert not is_taken
    assert "Pipelines without domains would refuse it, too" in text


def test_an_item_without_any_word_is_set_aside(texts_only, quarantine):
    table = pq.read_table(texts_only / "items.parquet")
    phrases = ["", "?!", *table["keyphrase"].to_pylist()[2:]]
    table = table.set_column(table.column_names.index("keyphrase"), "keyphrase", pa.array(phrases))
    pq.write_table(table, texts_only / "items.parquet")
    with pytest.raises(ContractError, match=r"2 of 12 rows(.|\n)*rule text_present"):
        validate_logs(texts_only, quarantine, needs_domains=False)


def test_embeddings_of_the_input_are_used_where_there_are_some(tables, source, quarantine):
    del tables.items["attr_quality"]
    vectors = np.array(tables.items["embedding"].to_pylist(), np.float32)
    catalog, _ = validate_logs(tables.write(source), quarantine, needs_domains=False)
    np.testing.assert_allclose(catalog.embeddings, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("texts", [["soap"] * 3, ["soap"], ["a", "b", "c", "d"]])
def test_equal_or_unlike_texts_have_unit_vectors_too(texts):
    np.testing.assert_allclose(np.linalg.norm(text_vectors(texts), axis=1), 1.0, atol=1e-6)
