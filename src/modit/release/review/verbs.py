"""The verbs that decide nothing: `review` says what to look at, `plan-domain` what adding a domain will take."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError

if TYPE_CHECKING:
    from modit.core.registry import Registry


def add_review_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser], steps: Callable[[], Registry]) -> None:
    """Adds them to the command line.

    Args:
        verbs: of the command line.
        steps: gives the steps, which the library does not know.
    """
    parser = verbs.add_parser("review", help="what to look at before a version is promoted")
    parser.add_argument("version", nargs="?", metavar="MODEL_VERSION", help="(default: those of --run that passed)")
    parser.add_argument("--run", metavar="URI", help="the run; for a version, one beside its own run")
    _add_result(parser)
    parser.set_defaults(verb=_review)
    parser = verbs.add_parser("plan-domain", help="what adding a domain to a run will take; spends nothing")
    parser.add_argument("--conf", required=True, metavar="JSON", help="of the run that adds the domain")
    parser.add_argument("--label-budget", required=True, type=int, metavar="N", help="most labels")
    parser.add_argument("--params", type=Path, default=Path(os.environ.get("MODIT_PARAMS", "params.yaml")))
    _add_result(parser)
    parser.set_defaults(verb=lambda chosen: _plan(chosen, steps()))


def _add_result(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--result", type=Path, metavar="FILE", help="write the last line of the output here, too")


def _review(chosen: argparse.Namespace) -> int:
    from modit.release.review.review import reviews_of_run

    if chosen.version:
        reviews = [_review_of_version(chosen.version, chosen.run)]
    elif chosen.run:
        reviews = reviews_of_run(chosen.run)
    else:
        raise ConfigError("which review? Give MODEL_VERSION, or --run for all versions of a run that passed")
    for review in reviews:
        print(review.subject, "", review.body, sep="\n")
    _say([review.as_json() for review in reviews], chosen.result)
    return 0


def _review_of_version(text: str, run: str | None) -> Any:
    from modit.release.registry.address import registry_uri
    from modit.release.registry.model_version import domain_of, parse_version
    from modit.release.registry.opening import existing_registry
    from modit.release.review.review import review_of

    model, number = parse_version(text)
    version = existing_registry(registry_uri(run)).version(domain_of(model), number)
    return review_of(version.tags["run_uri"], text, version.domain, version.tags["verdict_digest"])


def _plan(chosen: argparse.Namespace, registry: Registry) -> int:
    from modit.core.params import load_params
    from modit.core.run_config import parse_conf, wanted_config
    from modit.release.review.domain_plan import plan_domain, plan_text

    config = wanted_config(parse_conf(chosen.conf))
    params = load_params(chosen.params, config.preset, config.overrides)
    plan = plan_domain(registry, config, params, chosen.label_budget)
    print(plan_text(plan))
    plan.expect_within_budget()
    _say({"labels": plan.labels.most, "seconds": round(plan.expected)}, chosen.result)
    return 0


def _say(value: Any, file: Path | None) -> None:
    line = json.dumps(value)
    print(line)
    if file:
        file.write_text(line + "\n", encoding="utf-8")
