"""All steps of the pipeline, in an order in which they can run."""

from __future__ import annotations

from modit.core.registry import Registry, discover

REGISTRY: Registry = discover("components", "modit.params")
