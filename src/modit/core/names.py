"""Names that several modules must agree on. Standard library only, so that DAG files parse fast."""

from __future__ import annotations

import re

# A domain's name, everywhere: in the column `attr_<domain>`, in folders of a run and in addresses of the service.
DOMAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")

# The size presets that params.yaml must offer; here, because a DAG file may not read YAML when it is parsed.
PRESETS = ("tiny", "small", "base", "paper")

# The outcome of a step that found nothing new to work on; the run ends there, without an error.
SKIPPED_NO_DATA = "SKIPPED_NO_DATA"
