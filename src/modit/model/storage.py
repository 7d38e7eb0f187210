"""Model files: configuration and weights, written to a temporary name and renamed. Only this module knows of files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from modit.core.errors import ArtifactError
from modit.model.dit import DiTConfig, MODiT


def write_atomically(payload: dict[str, Any], path: Path) -> None:
    """Saves with `torch.save` under a temporary name, then renames."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    torch.save(payload, temporary)
    temporary.replace(path)


def save_model(path: Path, model: MODiT) -> None:
    """Writes the configuration and the weights; the same weights give the same bytes."""
    weights = {name: value.detach().cpu().contiguous() for name, value in sorted(model.state_dict().items())}
    write_atomically({"config": asdict(model.config), "weights": weights}, path)


def load_model(path: Path) -> MODiT:
    """Reads what `save_model` wrote, in evaluation mode.

    Raises:
        ArtifactError: the file is missing or holds no model.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no model file")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    model = MODiT(DiTConfig(**stored["config"]))
    model.load_state_dict(stored["weights"])
    return model.eval()
