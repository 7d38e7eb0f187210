"""Names that several modules must agree on. Standard library only, so that DAG files parse fast."""

from __future__ import annotations

import re

# A domain's name, everywhere: in the column `attr_<domain>`, in folders of a run and in addresses of the service.
DOMAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")
# What retrievers that are judged once for a catalogue are registered and served as, and what they are; no domain of a
# catalogue may be called so.
NEXT_ITEM, SEARCH, FAN_OUT = "next_item", "search", "fan_out"
JUDGED_ONCE = {
    NEXT_ITEM: "retrievers of the next item",
    SEARCH: "retrievers by text",
    FAN_OUT: "retrievers of sets by intent",
}
# Artifacts that list the versions that a run registered: of domains, and of each of those.
REGISTRATIONS = ("registration", *(f"{name}_registration" for name in JUDGED_ONCE))

# How the name of a file with verdicts ends: as the formats of `modit.data.files` do.
VERDICT_FILE = r"[.](parquet|(csv|tsv|json|jsonl|ndjson)([.]gz)?)$"
# The scorer of a new domain: nothing, a column of `items`, `package.module:function`, or a file with verdicts.
SCORER = rf"^$|^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*)?$|{VERDICT_FILE}"

# The size presets that params.yaml must offer; here, because a DAG file may not read YAML when it is parsed.
PRESETS = ("tiny", "quick", "small", "base", "paper")

# The outcome of a step that found nothing new to work on; the run ends there, without an error.
SKIPPED_NO_DATA = "SKIPPED_NO_DATA"
