"""All steps in an order in which they can run, and the pipelines that they make."""

from __future__ import annotations

from components.pipelines import PIPELINES
from modit.core.registry import Registry, discover

REGISTRY: Registry = discover("components", "modit.params", PIPELINES)
