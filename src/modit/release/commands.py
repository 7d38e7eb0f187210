"""Commands of `modit` about releases: promote a version, review one, plan a new domain, reproduce a version."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError

if TYPE_CHECKING:
    from modit.core.registry import Registry
    from modit.release.model_registry.mlflow_registry import MlflowRegistry

Commands = argparse._SubParsersAction
# Gives the folder of the repository and its steps, which the library does not know.
Checkout = Callable[[str], tuple[Path, "Registry"]]

_ORDERS = {
    "approve": "make a version with the verdict PASS the champion",
    "override": "make a version the champion although its verdict is FAIL; its model card says so",
    "reject": "the version is no longer the challenger and cannot be approved",
}


def add_release_commands(commands: Commands[argparse.ArgumentParser], checkout: Checkout) -> None:
    """Adds the commands to the command line; `checkout` is called with what needs the repository."""
    _add_promotion(commands)
    parser = commands.add_parser("verdict", help="show the verdict of a run, and where its report is")
    parser.add_argument("--run", required=True, metavar="URI", help="the run's folder: a path or an address like s3://")
    parser.set_defaults(command=_verdict)

    parser = commands.add_parser("review", help="what to look at before a version is promoted")
    parser.add_argument("version", nargs="?", metavar="MODEL_VERSION", help="(default: all that passed in --run)")
    parser.add_argument("--run", metavar="URI", help="the run; with a version, its own run or one beside it")
    _add_result(parser)
    parser.set_defaults(command=_review)

    parser = commands.add_parser("plan-domain", help="what adding a domain to a run will cost; computes nothing")
    parser.add_argument("--conf", required=True, metavar="JSON", help="configuration of the run that adds the domain")
    parser.add_argument(
        "--label-budget", type=int, metavar="N", help="most verdicts (default: new_domain.label_budget in --conf)"
    )
    default = Path(os.environ.get("MODIT_PARAMS", "params.yaml"))
    parser.add_argument("--params", type=Path, default=default, metavar="FILE", help="default: %(default)s")
    _add_result(parser)
    parser.set_defaults(command=lambda chosen: _plan(chosen, checkout("a plan")[1]))

    parser = commands.add_parser("score-next", help="which items to score next for a domain, and what that costs")
    parser.add_argument("--run", required=True, metavar="URI", help="a run; its catalogue is read")
    parser.add_argument("--count", required=True, type=int, metavar="N", help="items to list")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="CSV to write: item_id, title, verdict")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--verdicts", metavar="FILE", help="verdicts so far: CSV, Parquet or JSON lines (default: none)")
    known.add_argument("--domain", metavar="NAME", help="a domain of the run, whose other items are to be scored")
    parser.add_argument("--label-budget", type=int, metavar="N", help="most verdicts, with those so far")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same items (default %(default)s)")
    parser.set_defaults(command=_score_next)

    parser = commands.add_parser("reproduce", help="run a registered model version again and compare digests")
    parser.add_argument("version", metavar="MODEL_VERSION", help="such as modit-popular/3")
    parser.add_argument("--run", metavar="URI", help="a run beside the registry; not needed with MLFLOW_TRACKING_URI")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="folder for data and the new run (default reproduced/MODEL_VERSION)"
    )
    parser.set_defaults(command=lambda chosen: _reproduce(chosen, *checkout("reproducing")))


def _verdict(chosen: argparse.Namespace) -> int:
    from modit.release.verdict import data_docs, read_verdict, report_pages, served_figures, verdict_text

    print(verdict_text(read_verdict(chosen.run)))
    for name, found in (("served", served_figures), ("report", report_pages), ("data docs", data_docs)):
        for line in found(chosen.run):
            print(f"{name + ':':<10} {line}")
    return 0


def _add_promotion(commands: Commands[argparse.ArgumentParser]) -> None:
    for action, text in _ORDERS.items():
        parser = commands.add_parser(action, help=text)
        parser.add_argument("version", metavar="MODEL_VERSION", help="such as modit-popular/3")
        parser.add_argument(
            "--verdict", metavar="SHA256", required=action != "reject", help="of the verdict.json that you looked at"
        )
        _add_order(parser, reason=action != "approve")
        parser.set_defaults(command=_order, action=action)

    parser = commands.add_parser("rollback", help="make an earlier champion the champion again")
    parser.add_argument("domain", metavar="DOMAIN", help="the domain to roll back")
    parser.add_argument("--to", type=int, metavar="N", help="an earlier champion (default: the one before)")
    _add_order(parser, reason=True)
    parser.set_defaults(command=_order, action="rollback", version=None, verdict="")

    parser = commands.add_parser("releases", help="versions, verdicts, aliases and the release log")
    parser.add_argument("--domain", help="of the releases to show (default: all)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--repair", action="store_true", help="set aliases that were moved by hand to the log's")
    _add_registry(parser)
    parser.set_defaults(command=_releases)


def _add_order(parser: argparse.ArgumentParser, *, reason: bool) -> None:
    parser.add_argument("--by", required=True, metavar="WHO", help="name of the person who gives the order")
    parser.add_argument("--reason", default="", required=reason, metavar="TEXT", help="for the release log")
    parser.add_argument(
        "--approval",
        metavar="ID",
        help="of the approval, valid once: airflow:RUN/TASK, configuration:NAME, or timeout:RUN/TASK",
    )
    parser.add_argument("--approved-at", default="", metavar="TIME", help="ISO 8601; an old approval is refused")
    _add_registry(parser)


def _add_registry(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--registry", metavar="URI", help="the MLflow registry (default: MLFLOW_TRACKING_URI)")
    chosen.add_argument("--run", metavar="URI", help="a run; the registry next to it is used")


def _add_result(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--result", type=Path, metavar="FILE", help="also write the last line of the output here")


def _order(chosen: argparse.Namespace) -> int:
    from modit.release.model_registry.model_version import PREFIX, domain_of, model_name, parse_version
    from modit.release.model_registry.release_log import APPROVE, AUTO, CONFIGURATION, parse_approval
    from modit.release.promotion.promotion import Order, carry_out

    if chosen.version is None:  # a rollback
        domain, version = chosen.domain, chosen.to
    else:
        model, version = parse_version(chosen.version)
        if not model.startswith(PREFIX):
            raise ConfigError(f"MODEL_VERSION {chosen.version!r}: allowed: a model that begins with {PREFIX}")
        domain = domain_of(model)
    approval = parse_approval(chosen.approval or "", chosen.approved_at)
    automatic = chosen.action == APPROVE and approval.source == CONFIGURATION
    action = AUTO if automatic else chosen.action
    order = Order(action, domain, chosen.by, version, chosen.verdict or "", chosen.reason, approval)
    entry = carry_out(_registry(chosen), order)
    about = f"{entry.action} of {model_name(domain)} version {entry.version} is entry {entry.number}"
    print(f"{about}; the champion is {f'version {entry.champion_after}' if entry.champion_after else 'no version'}")
    return 0


def _releases(chosen: argparse.Namespace) -> int:
    from modit.release.promotion.overview import overview, overview_text

    registry = _registry(chosen)
    domains = [chosen.domain] if chosen.domain else registry.domains()
    found = [overview(registry, domain, repair=chosen.repair) for domain in domains]
    text = json.dumps(found, indent=1) if chosen.json else "\n\n".join(map(overview_text, found))
    print(text or "no model is registered")
    return int(any(each["problem"] for each in found))


def _review(chosen: argparse.Namespace) -> int:
    from modit.release.model_registry.model_version import domain_of, parse_version
    from modit.release.model_registry.registry_access import existing_registry, registry_uri
    from modit.release.promotion.review import review_of, reviews_of_run

    if chosen.version:
        model, number = parse_version(chosen.version)
        version = existing_registry(registry_uri(chosen.run)).version(domain_of(model), number)
        tags = version.tags
        reviews = [review_of(tags["run_uri"], chosen.version, version.domain, tags["verdict_digest"])]
    elif chosen.run:
        reviews = reviews_of_run(chosen.run)
    else:
        raise ConfigError("which review? Give MODEL_VERSION, or --run for all versions of a run that passed")
    for review in reviews:
        print(review.subject, "", review.body, sep="\n")
    _print_result([asdict(review) for review in reviews], chosen.result)
    return 0


def _plan(chosen: argparse.Namespace, steps: Registry) -> int:
    from modit.core.run_config import json_object, wanted_config
    from modit.release.domain_plan import plan_domain, plan_text

    conf = json_object(chosen.conf)
    if chosen.label_budget is not None and conf.get("new_domain"):
        conf["new_domain"]["label_budget"] = chosen.label_budget
    config = wanted_config(conf)
    params = steps.load_params(chosen.params, config.preset, config.overrides)
    plan = plan_domain(steps, config, params)
    print(plan_text(plan))
    plan.expect_within_budget()
    _print_result({"labels": plan.labels, "seconds": round(plan.expected)}, chosen.result)
    return 0


def _score_next(chosen: argparse.Namespace) -> int:
    from modit.release.scoring_list import write_scoring_list

    found = write_scoring_list(
        chosen.run,
        chosen.out,
        chosen.count,
        verdicts=chosen.verdicts,
        domain=chosen.domain,
        budget=chosen.label_budget,
        seed=chosen.seed,
    )
    print(found)
    return 0


def _reproduce(chosen: argparse.Namespace, root: Path, steps: Registry) -> int:
    from modit.release.model_registry.mlflow_registry import MlflowRegistry
    from modit.release.model_registry.model_version import parse_version
    from modit.release.model_registry.registry_access import registry_uri
    from modit.release.versioning.reproduce import reproduce, reproduction_text

    model, version = parse_version(chosen.version)
    record = MlflowRegistry(registry_uri(chosen.run)).record(model, version)
    folder = (chosen.into or Path("reproduced", f"{model}-{version}")).resolve()
    found = reproduce(record, steps, root, folder)
    print(reproduction_text(found))
    return 0 if found.first_difference is None else 1


def _registry(chosen: argparse.Namespace) -> MlflowRegistry:
    from modit.release.model_registry.registry_access import existing_registry, registry_uri

    return existing_registry(chosen.registry or registry_uri(chosen.run))


def _print_result(value: Any, file: Path | None) -> None:
    line = json.dumps(value)
    print(line)
    if file:
        file.write_text(line + "\n", encoding="utf-8")
