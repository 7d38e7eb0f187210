"""modit: generative retrieval that raises an attribute and stays in the pattern of its seeds.

`modit.load` answers from a release in this process. It is imported when it is first used, so that `import modit` takes
no time and needs no extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modit.local import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":
        from modit.extras import SERVE, needing

        with needing(SERVE, "modit.load"):
            from modit.local import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
