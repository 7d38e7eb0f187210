"""The licences of the packages that the service needs, as the installed packages state them."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The requirements of `pip install modit[serve,s3]` in pyproject.toml; a test compares.
SERVED = (
    "faiss-cpu",
    "fastapi",
    "filelock",
    "fsspec",
    "httptools",
    "jinja2",
    "mlflow",
    "numpy",
    "onnxruntime",
    "pandas",
    "prometheus-client",
    "psycopg2-binary",
    "pyarrow",
    "pydantic",
    "pyjwt",
    "pyyaml",
    "s3fs",
    "scikit-learn",
    "scipy",
    "tqdm",
    "uvicorn",
    "uvloop",
)
OWN = "Apache-2.0"
UNKNOWN = "not stated"
_CLASSIFIER = "License :: OSI Approved :: "


@cache
def licences() -> dict[str, dict[str, str]]:
    """Package -> `version` and `licence`, of `SERVED` and all that they need, as far as it is installed."""
    found: dict[str, dict[str, str]] = {}
    waiting = list(SERVED)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = {"version": package.version, "licence": licence_of(package.metadata)}
        waiting += [each.name for each in map(Requirement, package.requires or []) if _needed(each)]
    return dict(sorted(found.items()))


def licence_of(stated: metadata.PackageMetadata) -> str:
    """A package's licence: an SPDX expression, else a classifier, else the first line of its text."""
    if "License-Expression" in stated:
        return stated["License-Expression"]
    names = [
        each.removeprefix(_CLASSIFIER) for each in stated.get_all("Classifier", []) if each.startswith(_CLASSIFIER)
    ]
    text = stated["License"].strip().splitlines() if "License" in stated else []
    return ", ".join(names) or (text[0] if text else UNKNOWN)


def _needed(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
