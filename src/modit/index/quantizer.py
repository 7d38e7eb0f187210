"""A trained residual quantiser: it gives any vector its codes, of a new item too, without torch.

`modit.semantic_ids.quantizers` trains it.
r_0 = z, q_l = the codeword of layer l that is nearest to r_{l-1}, r_l = r_{l-1} - q_l.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError
from modit.index.paths import BudgetStop, FixedDepth, PathTable, RatioStop, StopRule

QUANTIZER_FILE = "quantizer.npz"
_NO_CODE = -1
_ROWS_AT_ONCE = 65_536
# The weights and biases of a network of linear maps with ReLU between them.
Network = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Quantizer:
    """Trained codebooks. They give an ID to any vector, of a new item too; nothing is learned for that.

    Attributes:
        codebooks: of each layer float32 [M_l, d].
        anchors: of each layer, how many leading codewords popular items have made; all, where no others were added.
        table: how many items have each prefix; of popular items only where they made the codebooks.
        rule: when an ID ends.
        encoder: what vectors pass first; empty for k-means of the vectors themselves.
    """

    codebooks: tuple[np.ndarray, ...]
    anchors: tuple[int, ...]
    table: PathTable
    rule: StopRule
    encoder: Network = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codewords of each layer."""
        return tuple(len(codebook) for codebook in self.codebooks)

    @property
    def dimension(self) -> int:
        """D, numbers of a vector."""
        return int(self.encoder[0][0].shape[1] if self.encoder else self.codebooks[0].shape[1])

    def after(self, projection: np.ndarray) -> Quantizer:
        """The quantiser of vectors x that quantises P x.

        Args:
            projection: P float32 [D, D'].
        """
        if not self.encoder:
            encoder: Network = ((projection, np.zeros(len(projection), np.float32)),)
        else:
            (weight, bias), *deeper = self.encoder
            encoder = ((weight @ projection, bias), *deeper)
        return replace(self, encoder=encoder)

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [n, D] -> latent vectors float32 [n, d]."""
        x = np.array(vectors, np.float32)
        for layer, (weight, bias) in enumerate(self.encoder):
            x = x @ weight.T + bias
            x = np.maximum(x, 0) if layer + 1 < len(self.encoder) else x
        return x

    def assign(self, vectors: np.ndarray, head: np.ndarray | None = None) -> np.ndarray:
        """The codes of items, int32 [n, L], padded with -1.

        Args:
            vectors: [n, D].
            head: bool [n], popular items, which take anchors only and so keep the ID of the first stage; None for none.
        """
        with threadpool_limits(1):
            residual = self.encode(vectors)
            head = np.zeros(len(residual), bool) if head is None else head
            codes = np.full((len(residual), len(self.codebooks)), _NO_CODE, np.int32)
            active = np.arange(len(residual))
            for layer, codebook in enumerate(self.codebooks):
                if layer:
                    active = active[self.rule.continues(self.table, codes[active], layer)]
                found = nearest(residual[active], codebook)
                anchored = head[active]
                if anchored.any() and self.anchors[layer] < len(codebook):
                    found[anchored] = nearest(residual[active[anchored]], codebook[: self.anchors[layer]])
                codes[active, layer] = found
                residual[active] -= codebook[found]
        return codes

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        arrays: dict[str, np.ndarray] = {
            "sizes": np.array(self.table.sizes, np.int64),
            "anchors": np.array(self.anchors, np.int64),
            "total": np.array(self.table.total, np.int64),
            "smoothing": np.array(self.table.smoothing),
            "rule": _rule_array(self.rule),
        }
        for layer, codebook in enumerate(self.codebooks):
            arrays[f"codebook_{layer}"] = codebook
        for depth, (keys, counts) in enumerate(zip(self.table.keys, self.table.counts, strict=True)):
            arrays[f"keys_{depth}"], arrays[f"counts_{depth}"] = keys, counts
        for layer, (weight, bias) in enumerate(self.encoder):
            arrays[f"weight_{layer}"], arrays[f"bias_{layer}"] = weight, bias
        save_arrays(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Quantizer:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: the file is missing, or is not such a file.
        """
        if not path.exists():
            raise ArtifactError(f"{path}: no quantiser")
        try:
            with np.load(path) as stored:
                numbered = lambda name: tuple(  # noqa: E731
                    stored[f"{name}_{layer}"] for layer in range(len(stored.files)) if f"{name}_{layer}" in stored.files
                )
                table = PathTable(
                    tuple(stored["sizes"].tolist()),
                    numbered("keys"),
                    numbered("counts"),
                    int(stored["total"]),
                    float(stored["smoothing"]),
                )
                encoder = tuple(zip(numbered("weight"), numbered("bias"), strict=True))
                rule = _rule_of(stored["rule"])
                return cls(
                    (stored["codebook_0"], *numbered("codebook")[1:]),
                    tuple(stored["anchors"].tolist()),
                    table,
                    rule,
                    encoder,
                )
        except KeyError as error:
            raise ArtifactError(f"{path}: field {error} is missing") from error
        except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise ArtifactError(f"{path}: {error}") from error


def nearest(points: np.ndarray, codewords: np.ndarray) -> np.ndarray:
    """Number of the nearest codeword of each point: int32 [n]; the first of several.

    Args:
        points: float32 [n, d].
        codewords: float32 [M, d].
    """
    squares = (codewords**2).sum(1)
    found = [
        (squares - 2 * (points[start : start + _ROWS_AT_ONCE] @ codewords.T)).argmin(1)
        for start in range(0, len(points), _ROWS_AT_ONCE)
    ]
    return np.concatenate(found).astype(np.int32) if found else np.zeros(0, np.int32)


def _rule_array(rule: StopRule) -> np.ndarray:
    if isinstance(rule, RatioStop):
        return np.array([1.0, rule.ratio, rule.full_layers])
    if isinstance(rule, BudgetStop):
        return np.array([2.0, *rule.budgets])
    return np.array([0.0])


def _rule_of(values: np.ndarray) -> StopRule:
    kind, *rest = values.tolist()
    if kind == 1.0:
        return RatioStop(rest[0], int(rest[1]))
    return BudgetStop(tuple(rest)) if kind == 2.0 else FixedDepth()
