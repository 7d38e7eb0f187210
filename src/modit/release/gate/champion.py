"""The champion of a domain, as a run has to know it: what answers today, and whether it can be judged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modit.core.errors import ArtifactError
from modit.core.storage import Storage

CHAMPION_FILE, SAMPLER_FILE, NEW_ITEMS_FILE = "champion.json", "sampler.onnx", "new_items.npy"
# Names a folder with DOMAIN/champion.json, to be taken instead of what the registry says today.
CHAMPIONS_VARIABLE = "MODIT_CHAMPIONS"
NONE, READY, OTHER_SPACE, UNREADABLE = "none", "ready", "other_space", "unreadable"
_FACTS = ("status", "reason", "model", "version", "sampler_digest", "lost_items")


@dataclass(frozen=True)
class Champion:
    """What answers for a domain today, as the gate has to know it.

    Attributes:
        status: "none": nothing was promoted yet; "ready": it can be judged; "other_space": it works on other
            embeddings; "unreadable": it is named, and its files are missing, damaged or not what was registered.
        reason: why it is not ready, or None.
        model: registered name, or None.
        version: number within the model, or None.
        run: address of the run that made it, or None.
        sampler_digest: sha256 of its `sampler.onnx`, as registered, or None.
        index_digest: of the index that it answers from, or None.
        lost_items: share in [0, 1] of the items of its catalogue that today's catalogue lacks: callers would not find
            them any more. None of one that cannot be judged.
    """

    status: str
    reason: str | None = None
    model: str | None = None
    version: int | None = None
    run: str | None = None
    sampler_digest: str | None = None
    index_digest: str | None = None
    lost_items: float | None = None

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model}/{self.version}"

    @property
    def facts(self) -> dict[str, Any]:
        """What reports and verdicts say of it, without addresses."""
        return {name: getattr(self, name) for name in _FACTS}

    def save(self, folder: Path) -> None:
        """Writes `champion.json` into an existing folder."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        (folder / CHAMPION_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Champion:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: it is missing, or has other fields.
        """
        content = Storage(str(folder)).read_json(CHAMPION_FILE)
        if content is None or set(content) != set(cls.__dataclass_fields__):
            raise ArtifactError(f"{folder / CHAMPION_FILE} is missing or no champion: {content}")
        return cls(**content)
