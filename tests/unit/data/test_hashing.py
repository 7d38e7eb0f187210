"""A hash of an id depends on the id alone, and never changes."""

import pyarrow as pa

from modit.data.hashing import string_hashes


def test_a_hash_depends_on_the_word_alone():
    words = ["", "a", "12345678", "123456789", "x" * 100, "ü", "12345678\0"]
    alone = [int(string_hashes(pa.array([word]))[0]) for word in words]
    inside = pa.array(["before", *words, "behind"], pa.large_string()).slice(1, len(words))
    assert string_hashes(pa.array(words)).tolist() == alone
    assert string_hashes(inside).tolist() == alone
    assert len(set(alone)) == len(words)
