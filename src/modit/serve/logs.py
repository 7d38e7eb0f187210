"""Log lines as JSON, one a line, on stderr."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from modit.core.logs import set_up_logging

# A record's dictionary of further fields: `logger.info(..., extra={FIELDS: {...}})`.
FIELDS = "fields"


class JsonFormatter(logging.Formatter):
    """A record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, logger, message, the record's fields, and the traceback of an exception."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content)


def set_up_json_logging() -> None:
    """The log lines of the whole process."""
    set_up_logging()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
