"""Feast's registry file, replaced as a whole: a crash while it is written leaves the old file."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RegistryConfig

from modit.core.storage import partial_beside


class AtomicRegistryStore(FileRegistryStore):
    """Writes a temporary file and renames it; Feast's own store truncates the registry before it writes."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        self._path = (repo_path / registry_config.path).resolve()

    def update_registry_proto(self, registry_proto: Registry) -> None:
        """Replaces the registry file."""
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        partial = partial_beside(self._path)
        with partial.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
