"""IDs of items: their tokens, their trie, items that share one, new items, and their file."""

from __future__ import annotations

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.index.item_codes import BOS, END, FIRST_CODE, PAD, ItemCodes

CODES = np.array([[0, 1, 2], [1, -1, -1], [0, 1, 2], [0, 0, -1], [0, 1, 0], [0, 1, 2]], np.int32)
COUNTS = np.array([1, 9, 5, 2, 0, 1])
TIES = np.array([0.9, 0.1, 0.5, 0.2, 0.3, 0.4])


def made(codes=CODES, sizes=(2, 3, 4), counts=COUNTS, ties=TIES) -> ItemCodes:
    return ItemCodes(np.asarray(codes, np.int32), sizes, counts, ties)


def test_tokens_are_the_codes_of_each_layer_then_an_end_then_padding():
    assert made().tokens.tolist()[:2] == [[3, 3 + 2 + 1, 3 + 2 + 3 + 2, END], [4, END, PAD, PAD]]
    assert made().vocabulary == FIRST_CODE + 9
    assert {PAD, BOS, END} == {0, 1, 2}


def test_items_of_one_id_are_ordered_by_counts_then_ties_and_not_by_rows():
    codes = made()
    shared = codes.trie.find(codes.tokens[:1])[0]
    assert codes.trie.items_of(shared).tolist() == [2, 5, 0]


def test_every_item_is_found_in_the_trie_under_its_own_id():
    codes = made()
    found = codes.trie.find(codes.tokens)
    assert (found >= 0).all()
    for row, identifier in enumerate(found):
        assert row in codes.trie.items_of(identifier)
    assert sorted(codes.trie.items.tolist()) == list(range(len(codes)))


@pytest.mark.parametrize(
    "spelled", [[4, 6, END, PAD], [3, 6, END, PAD], [3, END, PAD, PAD], [END, 3, 6, 8], [3, 6, 8, 9]]
)
def test_tokens_that_spell_no_id_are_found_nowhere(spelled):
    assert made().trie.find(np.array([spelled])).tolist() == [-1]


def test_children_of_a_node_are_exactly_the_next_tokens_of_the_ids_with_that_prefix():
    rng = np.random.default_rng(1)
    codes = np.stack([rng.integers(0, size, 200) for size in (3, 4, 5)], 1).astype(np.int32)
    codes[:, 2][codes[:, 1] == 0] = -1
    made_codes = ItemCodes(codes, (3, 4, 5), np.zeros(200, np.int64), np.arange(200) / 200)
    trie, tokens = made_codes.trie, made_codes.tokens
    node = {(): 0}
    for depth in range(tokens.shape[1]):
        for prefix in {tuple(row[:depth]) for row in tokens.tolist() if PAD not in row[: depth + 1]}:
            nodes = range(trie.first_child[node[prefix]], trie.first_child[node[prefix] + 1])
            expected = {row[depth] for row in tokens.tolist() if tuple(row[:depth]) == prefix}
            assert [int(trie.token[child]) for child in nodes] == sorted(expected)
            node |= {(*prefix, int(trie.token[child])): child for child in nodes}
    assert len(node) == len(trie)


def test_a_trie_of_one_item_leads_to_it():
    only = made([[1, 2, 3]], counts=np.array([0]), ties=np.array([0.0]))
    assert (len(only.trie), only.trie.find(only.tokens).tolist()) == (5, [0])


def test_a_suffix_makes_ids_unique_in_the_order_of_the_items():
    codes = made([[0, 1], [0, 1], [1, 0], [0, 1]], (2, 2), COUNTS[:4], TIES[:4]).with_suffix()
    assert codes.codes.tolist() == [[0, 1, 2], [0, 1, 0], [1, 0, 0], [0, 1, 1]]
    assert codes.sizes == (2, 2, 6)
    with pytest.raises(ValueError, match="allowed: method rq or acrq"):
        made().with_suffix()


def test_new_items_share_ids_or_get_the_next_number_and_known_items_keep_theirs():
    known = made()
    more = known.extended(np.array([[0, 1, 2]], np.int32), np.array([0.0]))
    assert np.array_equal(more.codes[: len(known)], known.codes)
    assert more.trie.items_of(more.trie.find(more.tokens[-1:])[0]).tolist() == [2, 5, 0, 6]
    suffixed = made([[0, 1], [0, 1]], (2, 2), COUNTS[:2], TIES[:2]).with_suffix()  # sizes 2, 2, 4
    new = suffixed.extended(np.array([[0, 1], [1, 1], [0, 1], [0, 1]], np.int32), np.arange(4.0))
    assert new.codes[2:].tolist() == [[0, 1, 2], [1, 1, 0], [0, 1, 3], [0, 1, 3]]


def test_the_file_gives_back_what_was_saved_and_equal_codes_give_equal_bytes(tmp_path):
    made().save(tmp_path / "a.npz")
    loaded = ItemCodes.load(tmp_path / "a.npz")
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (loaded.sizes, loaded.codes.dtype) == ((2, 3, 4), np.int32)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 3, -1]], r"row 0, layer 1 is 3; allowed: -1 to 2"),
        ([[0, -1, 2]], r"row 0 is \[0, -1, 2\]; allowed: -1 only after the last code"),
        ([[-1, -1, -1]], r"allowed: -1 only after the last code"),
        (np.zeros((0, 3)), r"N of at least 1"),
    ],
)
def test_codes_that_cannot_be_are_refused_by_row_and_what_is_allowed(codes, message):
    with pytest.raises(ValueError, match=message):
        made(codes, counts=np.zeros(len(codes)), ties=np.zeros(len(codes)))


def test_a_file_that_is_missing_or_no_such_file_is_refused_by_name(tmp_path):
    with pytest.raises(ArtifactError, match="a.npz: no item codes"):
        ItemCodes.load(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"none")
    with pytest.raises(ArtifactError, match="a.npz"):
        ItemCodes.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", codes=CODES, sizes=[2, 3, 4])
    with pytest.raises(ArtifactError, match="b.npz: field .*counts.* allowed: codes, sizes, counts, ties"):
        ItemCodes.load(tmp_path / "b.npz")
