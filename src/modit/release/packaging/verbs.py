"""The verb of the command line that packages: `triton`."""

from __future__ import annotations

import argparse
from pathlib import Path

from modit.core.errors import ConfigError


def add_packaging_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds it to the command line."""
    parser = verbs.add_parser("triton", help="write samplers into a model repository of Triton Inference Server")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the model repository")
    parser.add_argument("--registry", metavar="URI", help="the MLflow registry (default: MLFLOW_TRACKING_URI)")
    parser.add_argument("--alias", default="champion", help="of the versions to write (default %(default)s)")
    parser.add_argument("--domains", metavar="A,B", help="(default: all that have a version with the alias)")
    parser.set_defaults(verb=_triton)


def _triton(chosen: argparse.Namespace) -> int:
    from modit.release.bundle.loading import Source
    from modit.release.packaging.triton import write_triton_model
    from modit.release.registry.address import registry_uri
    from modit.release.registry.agreement import Agreement, Disagreement
    from modit.release.registry.opening import existing_registry

    agreement = Agreement(existing_registry(chosen.registry or registry_uri(None)), chosen.alias)
    found = {each.domain: each for each in agreement.versions()}
    wanted = sorted(found) if chosen.domains is None else list(filter(None, chosen.domains.split(",")))
    if not wanted or set(wanted) - set(found):
        names = ", ".join(sorted(set(wanted) - set(found))) or "any domain"
        raise ConfigError(f"no version of {names} has the alias {chosen.alias!r}")
    for domain in wanted:
        version = found[domain]
        if isinstance(version, Disagreement):
            raise version.error
        print(f"{version.label}: {write_triton_model(Source.of(version), chosen.out)}")
    return 0
