"""Reads the item table: every row checked, embeddings normalised, in one pass over batches."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import ContractError
from modit.data.catalog import ATTRIBUTE_PREFIX, NOT_SCORED
from modit.data.contract import VERDICT
from modit.data.engine import Engine
from modit.data.files import ROW_BITS, count_rows, find_files
from modit.data.mapping import Mapping, SourceColumn, TableLayout, understand
from modit.data.measurements import Measurement, refuse
from modit.data.params import ValidationParams
from modit.data.problems import EXAMPLES_SHOWN, ProblemLog
from modit.data.quarantine import Quarantine, summarise
from modit.data.rules import RULES, RowCheck

_BATCH_ROWS = 1 << 16
_RULES = tuple(name for name, rule in RULES.items() if rule.is_on_rows and "items" in rule.ranges)
_REFUSED = pa.schema([("pos", pa.int64()), ("broken", pa.int64()), ("item_id", pa.string()), ("value", pa.string())])
# A rule, the column to name, the rows that break it, and how to show a row.
Breach = tuple[str, str, np.ndarray, Callable[[int], str]]


@dataclass(frozen=True)
class Items:
    """The checked item table; arrays as in `Catalog`.

    Attributes:
        item_ids: unicode [N], unique.
        embeddings: float32 [N, d], unit length.
        verdicts: domain -> int8 [N]; `NOT_SCORED` where the input has none.
        titles: unicode [N] (an absent title is ""), or None without the column.
        norms: float32 [N], lengths of the embeddings as delivered.
        quarantined: rule -> rows set aside.
        measurements: one for each rule on rows.
        layout: the columns as they were understood.
    """

    item_ids: np.ndarray
    embeddings: np.ndarray
    verdicts: dict[str, np.ndarray]
    titles: np.ndarray | None
    norms: np.ndarray
    quarantined: dict[str, int]
    measurements: list[Measurement]
    layout: TableLayout

    def save_ids(self, engine: Engine) -> None:
        """Gives the engine the table `items`: `item_id`, and `item`, its row in the catalogue."""
        rows = pa.array(np.arange(len(self.item_ids), dtype=np.int32))
        engine.save("items", pa.table({"item_id": pa.array(self.item_ids.tolist(), pa.string()), "item": rows}))


def load_items(source: Path) -> Items:
    """Reads `items` of an input folder, in which every row must be good.

    Raises:
        ContractError: the table breaks the contract. All breaches are listed together.
    """
    with TemporaryDirectory(prefix="modit-") as folder, Engine(Path(folder)) as engine:
        items = read_items(source, engine, Path(folder), ValidationParams(), Mapping.load(source))
    refuse(each for each in items.measurements if each.rows)
    return items


def read_items(source: Path, engine: Engine, quarantine: Path, params: ValidationParams, mapping: Mapping) -> Items:
    """Reads and checks `items`.

    Args:
        source: the input folder.
        engine: reads the files.
        quarantine: folder for the rows that break a rule.
        params: section `validate_logs`: the lengths that an embedding may have, and how much quarantine is too much.
        mapping: the mapping file.

    Raises:
        ContractError: the columns are not those of the contract, a file cannot be read, or there is no row.
    """
    layout = understand("items", find_files(source, "items", engine), mapping, engine)
    rows = count_rows(layout.files, engine)
    if rows == 0:
        problems = ProblemLog()
        problems.add("items_not_empty", layout.files[0].name)
        problems.raise_if_any()
    reader = _ItemReader(layout, rows, params)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_decoding(layout, engine))
        for batch in engine.batches(layout.scan(layout.files, range(len(layout.files))), _BATCH_ROWS):
            reader.take(batch)
    return reader.finish(engine, quarantine)


def read_verdicts(source: Path, column: str, engine: Engine) -> pa.Table:
    """The scorer's verdicts in any column of `items`: `item_id` and `verdict`, which is null where not scored.

    Args:
        source: the input folder.
        column: its name.
        engine: reads the files.

    Raises:
        ContractError: there is no such column, its type is no verdict's, or a value is none.
    """
    mapping = Mapping.load(source)
    layout = understand("items", find_files(source, "items", engine), mapping, engine)
    for file in layout.files:
        kind = file.columns.get(column)
        if kind is None or not (file.is_text or VERDICT.accepts(kind)):
            raise ContractError(f"{file.name}, column {column!r}: is {kind or 'missing'}; allowed: {VERDICT.name}")
    item_id = layout.columns["item_id"]
    verdict = SourceColumn("verdict", VERDICT, column, "", layout.files[0].columns[column], "")
    chosen = TableLayout("items", layout.files, {"item_id": item_id, "verdict": verdict})
    with _decoding(chosen, engine):
        table = pa.Table.from_batches(list(engine.batches(chosen.scan(layout.files, range(len(layout.files))))))
    unread = table["verdict_text"].drop_null()
    if len(unread):
        raise ContractError(f"items, column {column!r}: is {unread[0].as_py()!r}; allowed: {VERDICT.name}")
    return table


@contextlib.contextmanager
def _decoding(layout: TableLayout, engine: Engine) -> Iterator[None]:
    try:
        yield
    except engine.Error as error:
        raise layout.undecodable(layout.files, error) from error


@dataclass(frozen=True)
class _Rows:
    """Rows of a batch.

    Attributes:
        pos: int64 [n], positions in the input.
        item_id: string [n].
        kept: bool [n], rows that no rule has caught yet; changed as rules catch them.
        caught: rule -> bool [n], rows that it has caught.
    """

    pos: np.ndarray
    item_id: pa.Array
    kept: np.ndarray
    caught: dict[str, np.ndarray] = field(default_factory=dict)


class _ItemReader:
    """Fills arrays batch by batch, so that embeddings are held once.

    Args:
        layout: the columns.
        rows: of the whole table.
        params: section `validate_logs`.
    """

    def __init__(self, layout: TableLayout, rows: int, params: ValidationParams) -> None:
        self._layout, self._rows, self._params = layout, rows, params
        self._filled = 0
        self._embeddings: np.ndarray | None = None
        self._norms = np.zeros(rows, dtype=np.float32)
        self._verdicts = {domain: np.zeros(rows, dtype=np.int8) for domain in layout.domains}
        self._pos = np.zeros(rows, dtype=np.int64)
        self._ids: list[np.ndarray] = []
        self._titles: list[np.ndarray] = []
        self._log = ProblemLog()
        self._broken: Counter[str] = Counter()  # rule -> rows, each once, whatever the columns that break it
        self._refused: list[pa.Table] = []

    def take(self, batch: pa.RecordBatch) -> None:
        """Checks the rows of a batch, and keeps the good ones."""
        rows = _Rows(batch["pos"].to_numpy(), batch["item_id"], np.ones(batch.num_rows, dtype=bool))
        for breach in self._single_breaches(batch):
            self._set_aside(breach, rows)
        vectors, measured = self._vectors(batch["embedding"], rows)
        good = rows.kept[measured]
        self._keep(batch, measured[good], vectors if good.all() else vectors[good])

    def finish(self, engine: Engine, quarantine: Path) -> Items:
        """Sets repeated items aside, writes the quarantine, and gives the good rows."""
        item_ids = _joined(self._ids) if self._filled else np.zeros(0, dtype=str)
        repeated = _repeats(item_ids)
        fresh = np.ones(self._filled, dtype=bool)
        if len(repeated):
            ids = pa.array(item_ids[repeated].tolist(), pa.string())
            again = _Rows(self._pos[repeated], ids, np.ones(len(repeated), dtype=bool))
            breach = ("item_id_unique", "item_id", again.kept, lambda row: f"item_id {ids[row].as_py()!r} again")
            self._set_aside(breach, again)
            fresh[repeated] = False
        counts = self._write(engine, quarantine)
        # nothing is copied where nothing was set aside
        pick: np.ndarray | slice = fresh if len(repeated) else slice(self._filled)

        def good(column: np.ndarray) -> np.ndarray:
            return column[: self._filled][pick]

        embeddings = self._embeddings if self._embeddings is not None else np.zeros((0, 0), np.float32)
        titles = _joined(self._titles)[pick] if self._titles else None
        return Items(
            item_ids[pick],
            good(embeddings),
            {domain: good(column) for domain, column in self._verdicts.items()},
            titles,
            good(self._norms),
            counts,
            summarise("items", self._log, _RULES, self._rows, self._params, self._broken).measurements,
            self._layout,
        )

    def _single_breaches(self, batch: pa.RecordBatch) -> Iterator[Breach]:
        """Rules on single values: missing, unreadable, empty."""
        ids = batch["item_id"]
        empty = pc.fill_null(pc.equal(ids, ""), False).to_numpy(zero_copy_only=False)
        for name, prefix in (("item_id", ""), ("embedding", "item_id ")):
            missing = _is_null(batch[name]) & _is_null(batch[f"{name}_text"])
            yield "not_null", name, missing, _shown(ids, prefix)
        for name in ("embedding", *(ATTRIBUTE_PREFIX + domain for domain in self._layout.domains)):
            text = batch[f"{name}_text"]
            column = self._layout.columns[name].column
            yield "readable_value", column, ~_is_null(text), _shown(text)
        yield "item_id_not_empty", "item_id", empty, _shown(ids)

    def _vectors(self, column: pa.Array, rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
        """The embeddings that have the table's dimension, float32 [n, d], and their rows; sets bad ones aside."""
        lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
        dimension = self._dimension(lengths[lengths >= 0])
        wrong = (lengths >= 0) & ((lengths != dimension) | (lengths == 0))
        wanted = dimension or "positive"
        self._set_aside(("embedding_dimension", "embedding", wrong, lambda row: f"not {wanted}: {lengths[row]}"), rows)
        measured = np.flatnonzero((lengths == dimension) & (dimension > 0))
        values = column.take(pa.array(measured)).flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is set aside as such
            vectors = values.astype(np.float32, copy=False).reshape(len(measured), dimension)
        for rule, bad, show in self._embedding_breaches(vectors):
            broken = np.zeros(len(rows.kept), dtype=bool)
            broken[measured[bad]] = True
            shown = (
                {int(row): show(vectors[place]) for place, row in enumerate(measured) if bad[place]}
                if bad.any()
                else {}
            )
            self._set_aside((rule, "embedding", broken, shown.__getitem__), rows)
        return vectors, measured

    def _dimension(self, lengths: np.ndarray) -> int:
        if self._embeddings is not None:
            return self._embeddings.shape[1]
        # what most rows of the first batch have: one bad row at the head must not condemn all others
        return int(np.bincount(lengths).argmax()) if len(lengths) else 0

    def _embedding_breaches(self, vectors: np.ndarray) -> Iterator[tuple[str, np.ndarray, Callable[[np.ndarray], str]]]:
        finite = np.isfinite(vectors).all(axis=1)
        yield "embedding_finite", ~finite, _first_bad
        norms = np.linalg.norm(np.where(finite[:, None], vectors, 1.0).astype(np.float64), axis=1)
        yield "embedding_non_zero", norms == 0, _first_bad
        low, high = self._params.embedding_norm_min, self._params.embedding_norm_max
        far = (norms != 0) & ((norms < low) | (norms > high)) & finite
        yield "embedding_norm", far, lambda v: f"{np.linalg.norm(v.astype(np.float64)):.4g}, not {low:g} to {high:g}"

    def _set_aside(self, breach: Breach, rows: _Rows) -> None:
        """Counts rows as breaches of a rule, and sets those of them aside that no other rule has caught before."""
        rule, column, broken, show = breach
        if not broken.any():
            return
        bad = np.flatnonzero(broken)
        shown = {int(row): show(int(row)) for row in bad}
        number_in_file, file = rows.pos & ((1 << ROW_BITS) - 1), rows.pos >> ROW_BITS
        for number in np.unique(file[bad]):
            here = bad[file[bad] == number]
            examples = [f"row {number_in_file[row]}: {shown[int(row)]}" for row in here[:EXAMPLES_SHOWN]]
            self._log.add_rows(rule, self._layout.files[number].name, column, len(here), examples)
        caught = rows.caught.setdefault(rule, np.zeros(len(rows.pos), dtype=bool))
        self._broken[rule] += int((broken & ~caught).sum())
        caught |= broken
        fresh = bad[rows.kept[bad]]
        columns = {
            "pos": rows.pos[fresh],
            "broken": np.full(len(fresh), _RULES.index(rule), np.int64),
            "item_id": rows.item_id.take(pa.array(fresh)),
            "value": pa.array([shown[int(row)] for row in fresh], pa.string()),
        }
        self._refused.append(pa.table(columns, schema=_REFUSED))
        rows.kept[bad] = False

    def _keep(self, batch: pa.RecordBatch, rows: np.ndarray, vectors: np.ndarray) -> None:
        if not len(rows):
            return
        place = slice(self._filled, self._filled + len(rows))
        chosen = batch if len(rows) == batch.num_rows else batch.take(pa.array(rows))
        if self._embeddings is None:
            self._embeddings = np.zeros((self._rows, vectors.shape[1]), dtype=np.float32)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        self._embeddings[place] = vectors / norms[:, None]
        with np.errstate(over="ignore"):
            self._norms[place] = norms
        self._pos[place] = chosen["pos"].to_numpy()
        self._ids.append(_unicode(chosen["item_id"]))
        if "title" in self._layout.columns:
            self._titles.append(_unicode(chosen["title"]))
        for domain, column in self._verdicts.items():
            column[place] = pc.fill_null(chosen[ATTRIBUTE_PREFIX + domain], NOT_SCORED).to_numpy(zero_copy_only=False)
        self._filled += len(rows)

    def _write(self, engine: Engine, quarantine: Path) -> dict[str, int]:
        engine.save("refused_items", pa.concat_tables([_REFUSED.empty_table(), *self._refused]))
        checks = [RowCheck(rule, "", "") for rule in _RULES]
        files = [file.name for file in self._layout.files]
        Quarantine(engine, "items", files, checks).set_aside("refused_items", ("item_id", "value"), quarantine)
        counts = engine.rows("SELECT broken, count(*) FROM refused_items GROUP BY broken ORDER BY broken")
        return {_RULES[broken]: count for broken, count in counts}


def _shown(column: pa.Array, prefix: str = "") -> Callable[[int], str]:
    return lambda row: f"{prefix}{column[row].as_py()!r}"


def _is_null(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def _first_bad(vector: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(vector))
    return f"{vector[bad[0]]} at number {bad[0]}" if len(bad) else f"{len(vector)} zeros"


def _unicode(column: pa.Array) -> np.ndarray:
    return np.array(pc.fill_null(column.cast(pa.large_string()), "").to_pylist(), dtype=str)


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    """Joins unicode arrays and empties the list on the way, so that the text is not held twice."""
    rows = sum(len(chunk) for chunk in chunks)
    joined = np.empty(rows, dtype=max((chunk.dtype for chunk in chunks), key=lambda kind: kind.itemsize))
    while chunks:
        chunk = chunks.pop()
        joined[rows - len(chunk) : rows] = chunk
        rows -= len(chunk)
    return joined


def _repeats(item_ids: np.ndarray) -> np.ndarray:
    """Places of ids that have occurred before, ascending."""
    order = np.argsort(item_ids, kind="stable")
    return np.sort(order[1:][item_ids[order[1:]] == item_ids[order[:-1]]])
