"""What would change for callers: lists of the candidate beside those of what answers today, for the reviewer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]

CHANGE_FILE, CHANGE_TEXT = "change.json", "change.md"
TOP = 10
_EXAMPLES, _SHOWN_SEEDS = 3, 4


@dataclass(frozen=True, eq=False)
class Lists:
    """What both answered to the same questions.

    Attributes:
        before: rows of what answers today, int64 [n, TOP], padded with -1.
        after: rows of the candidate, likewise.
        seeds: rows asked with, int [n, m], padded with -1.
    """

    before: np.ndarray
    after: np.ndarray
    seeds: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """How many items of each list before are in the list after, int [n]."""
        return np.array(
            [len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(self.before, self.after, strict=True)]
        )


def change_table(lists: Lists, slices: Mapping[str, np.ndarray]) -> list[Json]:
    """A line for all questions and one for each slice.

    Args:
        lists: of n >= 1 questions.
        slices: name -> bool [n].

    Returns:
        For each: `slice`, `queries`; and, where there are any, `changed`, the share of them whose top items are others,
        and `kept`, the mean share of items that stay; both in [0, 1].
    """
    kept, found = lists.kept, (lists.before >= 0).sum(1)
    table = []
    for name, mask in ({"all": np.ones(len(kept), bool)} | dict(slices)).items():
        line: Json = {"slice": name, "queries": int(mask.sum())}
        if mask.any():
            line["changed"] = float((kept[mask] < found[mask]).mean())
            line["kept"] = float((kept[mask] / np.maximum(found[mask], 1)).mean())
        table.append(line)
    return table


def change_examples(lists: Lists, patterns: np.ndarray, title: Callable[[int], str]) -> list[Json]:
    """The questions whose lists change most, one of a pattern, with the items that go and come; the first of equals.

    Args:
        lists: of both.
        patterns: of the seeds [n].
        title: of a row.
    """
    ranked = np.argsort(lists.kept, kind="stable")
    order = ranked[np.sort(np.unique(patterns[ranked], return_index=True)[1])[:_EXAMPLES]]
    return [_example(lists.before[row], lists.after[row], lists.seeds[row], title) for row in order]


def _example(before: np.ndarray, after: np.ndarray, seeds: np.ndarray, title: Callable[[int], str]) -> Json:
    before, after, seeds = (rows[rows >= 0] for rows in (before, after, seeds))
    return {
        "seeds": [title(row) for row in seeds[:_SHOWN_SEEDS]],
        "seed_count": len(seeds),
        "goes": [title(row) for row in before if row not in after],
        "comes": [title(row) for row in after if row not in before],
    }


def save_change(folder: Path, content: Json) -> None:
    """Writes `change.json` and `change.md` into an existing folder.

    Args:
        folder: of the artifact.
        content: `domain`, `against`, `champion` (its facts), `top`, `slices` of `change_table`, `examples` of
            `change_examples`.
    """
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / CHANGE_FILE).write_text(text, encoding="utf-8")
    (folder / CHANGE_TEXT).write_text(change_text(content), encoding="utf-8")


def change_text(content: Json) -> str:
    """The same as Markdown, for a reviewer."""
    lines = [
        f"### What would change in {content['domain']}",
        "",
        f"Top {content['top']} of the candidate beside {content['against']}.",
        *_lost(content["champion"]),
        "",
        "| queries | how many | lists that change | items that stay |",
        "|---|---:|---:|---:|",
        *(_line(entry) for entry in content["slices"]),
    ]
    for example in content["examples"]:
        lines += ["", f"Seeds: {_titles(example['seeds'])} ({example['seed_count']} in all)", ""]
        lines += [
            f"- goes: {_titles(example['goes']) or 'nothing'}",
            f"- comes: {_titles(example['comes']) or 'nothing'}",
        ]
    return "\n".join(lines) + "\n"


def _lost(champion: Json) -> list[str]:
    share = champion["lost_items"]
    return [] if share is None else [f"Of the champion's items {100 * share:.1f} % would not be found any more."]


def _line(entry: Json) -> str:
    figures = [f"{100 * entry[name]:.1f} %" if name in entry else "-" for name in ("changed", "kept")]
    return f"| {entry['slice']} | {entry['queries']} | {figures[0]} | {figures[1]} |"


def _titles(titles: Sequence[str]) -> str:
    # A title is text of the catalogue's owner: it must not make a table, a link or a tag of this page.
    return ", ".join("".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in title) for title in titles)
