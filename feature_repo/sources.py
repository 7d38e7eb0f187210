"""What is published, and where its rows lie: a folder of parquet files for each view."""

import json
import os
from pathlib import Path

from feast import FileSource

STORE = Path(os.environ["MODIT_FEATURES"])
PUBLISHED = json.loads((STORE / "published.json").read_text(encoding="utf-8"))


def rows_of(view: str) -> FileSource:
    """The rows of a view: appended night by night, never changed."""
    return FileSource(
        name=f"{view}_rows",
        path=str(STORE / "rows" / view),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
