"""modit: generative retrieval that raises an attribute and stays in the pattern of its seeds.

`modit.train` runs a pipeline in this process, `modit.load` answers from a release. Both are imported when they are
first used, so that `import modit` takes no time and needs no extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modit.local import load
    from modit.pipeline import train

__all__ = ["__version__", "load", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in ("load", "train"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from modit.extras import SERVE, TRAIN, needing

    if name == "load":
        with needing(SERVE, "modit.load"):
            from modit.local import load

        return load
    with needing(TRAIN, "modit.train"):
        import torch  # noqa: F401

        from modit.pipeline import train

    return train
