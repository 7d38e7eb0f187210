"""Words become numbers: by the order in which they first appear, or by the row that an id has in the catalogue."""

from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.data import hashing
from modit.data.codes import by_first_appearance, encoded
from modit.data.hashing import WordIndex, string_hashes
from modit.data.scratch import Scratch
from modit.data.words import BatchWords, Words

texts = st.one_of(st.text(max_size=3), st.text(min_size=7, max_size=9), st.text(max_size=40))
batches = st.lists(st.lists(texts, max_size=12), min_size=1, max_size=5)


@settings(deadline=None)
@given(batches=batches, partitions=st.sampled_from([1, 2, 8]))
def test_words_are_numbered_in_order_of_first_appearance(batches, partitions, tmp_path_factory):
    number, written = {}, []
    with Scratch(tmp_path_factory.mktemp("scratch")) as scratch, ThreadPoolExecutor(2) as pool:
        words = Words(scratch, partitions)
        for batch in batches:
            column = encoded(pa.array(batch, pa.large_string()))
            codes, distinct = by_first_appearance(column.indices.to_numpy(), column.dictionary)
            words.add(BatchWords.of(codes, distinct, partitions))
            written += distinct.to_pylist()
            for word in batch:
                number.setdefault(word, len(number))
        found, rows = words.numbered(pool)
        assert found.tolist() == [number[word] for word in written]
        assert rows.tolist() == [sum(batch.count(word) for batch in batches) for word in number]
        assert words.take(np.arange(len(written))).to_pylist() == written


@given(ids=st.lists(texts, unique=True), asked=st.lists(st.one_of(st.none(), texts)))
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_an_index_finds_the_row_of_a_word_or_says_that_there_is_none(kind, ids, asked):
    asked = [*asked, *ids, *ids[:3]]
    index = WordIndex(pa.array(ids, pa.large_string()))
    row = {word: number for number, word in enumerate(ids)}
    found = index.rows(pa.array([None, *asked], kind).slice(1)).tolist()
    assert [have for have, word in zip(found, asked, strict=True) if word is not None] == [
        row.get(word, -1) for word in asked if word is not None
    ]


def test_words_of_one_hash_are_told_apart():
    def by_length(words, seed=0):
        lengths = np.array([len(word) for word in words.to_pylist()], np.uint64)
        return lengths if seed < 2 else lengths << np.uint64(60) | string_hashes(words) >> np.uint64(8)

    with mock.patch.object(hashing, "string_hashes", by_length):
        index = WordIndex(pa.array(["ab", "cd", "e"], pa.large_string()))  # takes the third hash
        single = WordIndex(pa.array(["ab", "e"], pa.large_string()))
        assert index.rows(pa.array(["cd", "e", "ab", "xy"])).tolist() == [1, 2, 0, -1]
        assert single.rows(pa.array(["cd", "e", "ab"])).tolist() == [-1, 1, 0]


def test_a_hash_depends_on_the_word_alone():
    words = ["", "a", "12345678", "123456789", "x" * 100, "ü", "12345678\0"]
    alone = [int(string_hashes(pa.array([word]))[0]) for word in words]
    assert string_hashes(pa.array(words)).tolist() == alone
    assert (
        string_hashes(pa.array(["before", *words, "behind"], pa.large_string()).slice(1, len(words))).tolist() == alone
    )
    assert len(set(alone)) == len(words)
    assert string_hashes(pa.array(words), seed=1).tolist() != alone
