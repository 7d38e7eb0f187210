"""Feast's registry file, written so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry

from modit.core.storage import partial_beside


class AtomicRegistryStore(FileRegistryStore):
    """Feast's own store truncates the file before it writes."""

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        partial = partial_beside(self._filepath)
        with partial.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._filepath)
