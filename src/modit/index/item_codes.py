"""The semantic IDs of a catalogue's items, as tokens of a decoder, and the trie of all IDs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError
from modit.data.hash_unit import hash_unit

CODES_FILE = "item_codes.npz"
# Tokens that are no code: padding, start of a session, end of an item. The codes of layer 1 follow, then layer 2's.
PAD, BOS, END = 0, 1, 2
FIRST_CODE = 3
_NO_CODE = -1


@dataclass(frozen=True)
class ItemCodes:
    """The ID of every item. Items may share one; then they have a named order: most interactions first, then by `ties`.

    Attributes:
        codes: int32 [N, L], code of each layer, padded with -1 at the end.
        sizes: codewords of each layer, L numbers.
        counts: int64 [N], training interactions of each item.
        ties: float64 [N], order of items with equal counts, such as a hash of their ids. The order of the rows must not
            decide: in some catalogues it is the order in which sessions first have the items.
    """

    codes: np.ndarray
    sizes: tuple[int, ...]
    counts: np.ndarray
    ties: np.ndarray

    def __post_init__(self) -> None:
        codes, sizes = self.codes, np.asarray(self.sizes)
        lengths = {len(codes), len(self.counts), len(self.ties)}
        if codes.ndim != 2 or codes.shape[1] != len(sizes) or len(codes) == 0 or len(lengths) > 1:
            raise ValueError(
                f"codes {codes.shape}, sizes {sizes.shape}, counts {self.counts.shape}, ties {self.ties.shape}; "
                "allowed: [N, L], [L], [N], [N] with N of at least 1"
            )
        wrong = (codes < _NO_CODE) | (codes >= sizes)
        if wrong.any():
            row, layer = np.argwhere(wrong)[0]
            raise ValueError(
                f"codes: row {row}, layer {layer} is {codes[row, layer]}; allowed: -1 to {sizes[layer] - 1}"
            )
        gaps = (codes[:, :-1] == _NO_CODE) & (codes[:, 1:] != _NO_CODE)
        if gaps.any() or (codes[:, 0] == _NO_CODE).any():
            row = int(np.flatnonzero(gaps.any(1) | (codes[:, 0] == _NO_CODE))[0])
            raise ValueError(f"codes: row {row} is {codes[row].tolist()}; allowed: -1 only after the last code")

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 [N]: codes of each item."""
        return (self.codes != _NO_CODE).sum(1)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, PAD, BOS and END included."""
        return FIRST_CODE + sum(self.sizes)

    @cached_property
    def tokens(self) -> np.ndarray:
        """int32 [N, L + 1]: the tokens of each item, END after its last code, then PAD."""
        return code_tokens(self.codes, self.sizes)

    @cached_property
    def trie(self) -> Trie:
        """The trie of all IDs."""
        return Trie.of(self)

    @cached_property
    def nodes(self) -> np.ndarray:
        """int64 [N, L + 1]: the node of the trie that each of `tokens` leads on from; 0 at padding."""
        return np.maximum(self.trie.walk(self.tokens), 0)

    def with_suffix(self) -> ItemCodes:
        """Codes with one more layer that numbers the items of each ID in their order (TIGER, section 3.1).

        The layer has twice as many codewords as the most crowded ID has items, which leaves room for new items.
        """
        trie = self.trie
        place = np.empty(len(self), np.int32)
        place[trie.items] = np.arange(len(self)) - np.repeat(trie.item_offsets[:-1], np.diff(trie.item_offsets))
        suffixed = np.concatenate([self.codes, np.full((len(self), 1), _NO_CODE, np.int32)], 1)
        suffixed[np.arange(len(self)), -1] = place
        if (self.lengths < self.codes.shape[1]).any():
            raise ValueError("codes: a suffix needs IDs of one length; allowed: method rq or acrq")
        return ItemCodes(suffixed, (*self.sizes, 2 * (int(place.max()) + 1)), self.counts, self.ties)

    def extended(self, codes: np.ndarray, ties: np.ndarray) -> ItemCodes:
        """Codes with new items after the known ones; nothing changes for the known ones.

        Args:
            codes: int32 [n, L] of the new items. Where IDs have a suffix, without it (L - 1 layers): a new item gets
                the next free number of its ID; if there is none left, it shares the last one.
            ties: of the new items float64 [n].
        """
        codes = np.asarray(codes, np.int32)
        if codes.shape[1] == self.codes.shape[1] - 1:
            used: dict[bytes, int] = {}
            for row in self.codes:
                used[row[:-1].tobytes()] = max(used.get(row[:-1].tobytes(), 0), int(row[-1]) + 1)
            numbers = np.zeros((len(codes), 1), np.int32)
            for index, row in enumerate(codes):
                number = used.get(row.tobytes(), 0)
                numbers[index] = min(number, self.sizes[-1] - 1)
                used[row.tobytes()] = number + 1
            codes = np.concatenate([codes, numbers], 1)
        counts = np.concatenate([self.counts, np.zeros(len(codes), self.counts.dtype)])
        ties = np.concatenate([self.ties, ties])
        return ItemCodes(np.concatenate([self.codes, codes]), self.sizes, counts, ties)

    def save(self, path: Path) -> None:
        """Writes one `.npz`; equal codes give equal bytes."""
        sizes = np.array(self.sizes, np.int64)
        save_arrays(path, codes=self.codes, sizes=sizes, counts=self.counts, ties=self.ties)

    @classmethod
    def load(cls, path: Path) -> ItemCodes:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: the file is missing, is not such a file, or holds codes that cannot be.
        """
        if not path.exists():
            raise ArtifactError(f"{path}: no item codes")
        try:
            with np.load(path) as stored:
                sizes = tuple(int(size) for size in stored["sizes"])
                return cls(stored["codes"], sizes, stored["counts"], stored["ties"])
        except KeyError as error:
            raise ArtifactError(f"{path}: field {error} is missing; allowed: codes, sizes, counts, ties") from error
        except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise ArtifactError(f"{path}: {error}") from error


def order_of_ties(item_ids: Iterable[str]) -> np.ndarray:
    """`ItemCodes.ties` of items: a hash of their ids, float64 [n] in [0, 1)."""
    return hash_unit(item_ids, "items of one semantic id")


def code_tokens(codes: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Codes int32 [n, L], padded with -1 -> tokens int32 [n, L + 1], END after the last code, then PAD."""
    starts = FIRST_CODE + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tokens = np.full((len(codes), codes.shape[1] + 1), PAD, np.int32)
    tokens[:, :-1] = np.where(codes == _NO_CODE, PAD, codes + starts)
    tokens[np.arange(len(codes)), (codes != _NO_CODE).sum(1)] = END
    return tokens


@dataclass(frozen=True)
class Trie:
    """All IDs as a tree of tokens. Nodes are numbered level by level, so that the children of a node are neighbours.

    The children of node n are the nodes `first_child[n]` to `first_child[n + 1]`, the end not included. Node 0 is the
    root. A node that is reached by END stands for an ID.

    Attributes:
        first_child: int64 [nodes + 1].
        token: int32 [nodes], the token that leads to each node; PAD for the root.
        parent: int64 [nodes]; -1 for the root.
        identifier: int64 [nodes], number of the ID that ends in the node; -1 for none.
        item_offsets: int64 [IDs + 1]; the items of ID i are `items[item_offsets[i] : item_offsets[i + 1]]`.
        items: int32 [N], rows of the catalogue, those of one ID in their order.
        log_shares: float32 [N], log P(item | ID) of each of `items`: its share of the training interactions of the
            ID's items, each counted once more than it was used.
        vocabulary: how many tokens there are.
    """

    first_child: np.ndarray
    token: np.ndarray
    parent: np.ndarray
    identifier: np.ndarray
    item_offsets: np.ndarray
    items: np.ndarray
    log_shares: np.ndarray
    vocabulary: int

    @classmethod
    def of(cls, codes: ItemCodes) -> Trie:
        """Builds the trie of all items' IDs."""
        rows, inverse = np.unique(codes.tokens, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        order = np.lexsort((codes.ties, -codes.counts, inverse))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(inverse, minlength=len(rows)))])
        tokens, parents, identifiers = [np.array([PAD])], [np.array([-1])], [np.array([-1])]
        above = np.zeros(len(rows), np.int64)
        count, started = 1, np.zeros(len(rows), bool)
        started[0] = True
        for depth in range(rows.shape[1]):
            column = rows[:, depth]
            started[1:] |= column[1:] != column[:-1]
            new = np.flatnonzero(started & (column != PAD))
            tokens.append(column[new])
            parents.append(above[new])
            identifiers.append(np.where(column[new] == END, new, -1))
            node = count - 1 + np.cumsum(started & (column != PAD))
            above = np.where(column != PAD, node, above)
            count += len(new)
        parent = np.concatenate(parents)
        children = np.bincount(parent[1:], minlength=count)
        first_child = 1 + np.concatenate([[0], np.cumsum(children)])
        token, identifier = np.concatenate(tokens).astype(np.int32), np.concatenate(identifiers)
        items = order.astype(np.int32)
        used = codes.counts[items] + 1.0
        shares = np.log(used / np.repeat(np.add.reduceat(used, offsets[:-1]), np.diff(offsets))).astype(np.float32)
        return cls(first_child, token, parent, identifier, offsets, items, shares, codes.vocabulary)

    def __len__(self) -> int:
        return len(self.token)

    @property
    def identifiers(self) -> int:
        """How many IDs there are."""
        return len(self.item_offsets) - 1

    @cached_property
    def identifier_of(self) -> np.ndarray:
        """int64 [N]: number of the ID of each row of the catalogue."""
        found = np.empty(len(self.items), np.int64)
        found[self.items] = np.repeat(np.arange(self.identifiers), np.diff(self.item_offsets))
        return found

    @cached_property
    def _leaf(self) -> np.ndarray:
        """int64 [IDs]: the node in which each ID ends."""
        nodes = np.flatnonzero(self.identifier >= 0)
        found = np.empty(self.identifiers, np.int64)
        found[self.identifier[nodes]] = nodes
        return found

    def opened(self, excluded: np.ndarray, allowed: np.ndarray | None = None) -> tuple[np.ndarray | None, int]:
        """The nodes that lead to an ID with an item that may be a result.

        Args:
            excluded: rows of the catalogue that are no result, int64 [e].
            allowed: bool [N], the rows that may be results; None for all.

        Returns:
            Bool [nodes], or None where it would be all of them; and how many IDs are left.
        """
        if allowed is not None:
            return self._opened_by(allowed, excluded)
        own, gone = np.unique(self.identifier_of[np.unique(excluded)], return_counts=True)
        closed = own[gone == self.item_offsets[own + 1] - self.item_offsets[own]]
        if not len(closed):
            return None, self.identifiers
        found, nodes = np.ones(len(self), bool), self._leaf[closed]
        # Upwards from the few that are closed: a node is closed once the last of its children is.
        while len(nodes):
            found[nodes] = False
            above = np.unique(self.parent[nodes])
            above = above[above >= 0]
            counts = self.first_child[above + 1] - self.first_child[above]
            owner = np.repeat(np.arange(len(above)), counts)
            children = np.arange(len(owner)) + (self.first_child[above] - np.cumsum(counts) + counts)[owner]
            nodes = above[np.bincount(owner, found[children], len(above)) == 0]
        return found, self.identifiers - len(closed)

    def _opened_by(self, allowed: np.ndarray, excluded: np.ndarray) -> tuple[np.ndarray | None, int]:
        rows = allowed.copy()
        rows[excluded] = False
        own = np.zeros(self.identifiers, bool)
        own[self.identifier_of[np.flatnonzero(rows)]] = True
        count = int(np.count_nonzero(own))
        if count == self.identifiers:
            return None, count
        found = np.zeros(len(self), bool)
        found[self._leaf[own]] = True
        for start, stop in reversed(self._levels):
            found[self.parent[start:stop][found[start:stop]]] = True
        return found, count

    @cached_property
    def _levels(self) -> list[tuple[int, int]]:
        """First node of each level below the root, and the first after it."""
        levels, start, stop = [], 1, int(self.first_child[1])
        while start < stop:
            levels.append((start, stop))
            start, stop = stop, int(self.first_child[stop])
        return levels

    def places_in(self, other: Trie) -> np.ndarray:
        """The node of another trie that each node of this one is, int64 [nodes]; -1 where the other has none.

        Args:
            other: with the same tokens.
        """
        keys = other.parent[1:] * other.vocabulary + other.token[1:]
        found = np.full(len(self), -1, np.int64)
        found[0] = 0
        for start, stop in self._levels:
            above = found[self.parent[start:stop]]
            wanted = above * other.vocabulary + self.token[start:stop]
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            found[start:stop] = np.where((above >= 0) & (keys[place] == wanted), place + 1, -1)
        return found

    def items_of(self, identifier: int) -> np.ndarray:
        """Rows of the items of one ID, in their order."""
        return self.items[self.item_offsets[identifier] : self.item_offsets[identifier + 1]]

    def walk(self, tokens: np.ndarray) -> np.ndarray:
        """The node that each token leads on from, int64 [n, T]: the root for the first; -1 once out of the trie.

        Args:
            tokens: int64 [n, T], codes and END, then anything.
        """
        keys = self.parent[1:] * self.vocabulary + self.token[1:]  # ascending
        node, nodes = np.zeros(len(tokens), np.int64), np.full(np.shape(tokens), -1, np.int64)
        for depth, column in enumerate(np.asarray(tokens, np.int64).T):
            nodes[:, depth] = node
            wanted = node * self.vocabulary + column
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            node = np.where((node >= 0) & (keys[place] == wanted), place + 1, -1)
        return nodes

    def find(self, tokens: np.ndarray) -> np.ndarray:
        """The number of the ID that each row of tokens [n, T] spells up to its END; -1 where there is none."""
        tokens = np.asarray(tokens, np.int64)
        nodes = self.walk(np.concatenate([tokens, np.zeros((len(tokens), 1), np.int64)], 1))[:, 1:]
        ended = (nodes >= 0) & (tokens == END)
        found, rows = np.full(len(tokens), -1, np.int64), ended.any(1)
        found[rows] = self.identifier[nodes[rows, ended[rows].argmax(1)]]
        return found
