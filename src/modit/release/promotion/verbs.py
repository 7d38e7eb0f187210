"""The verbs of the command line that promote: `releases`, `approve`, `override`, `reject`, `rollback`; and `retain`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from modit.core.errors import ConfigError

if TYPE_CHECKING:
    from modit.release.registry.registry import MlflowRegistry
    from modit.release.registry.release_log import Approval, Entry

_HELP = {
    "approve": "make a version that passed the champion",
    "override": "make a version the champion although its verdict failed; marks its card",
    "reject": "a version is no challenger any more, and cannot be approved",
}


def add_promotion_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds them to the command line."""
    for action, words in _HELP.items():
        parser = verbs.add_parser(action, help=words)
        parser.add_argument("version", metavar="MODEL_VERSION", help="such as modit-popular/3")
        parser.add_argument(
            "--verdict", metavar="SHA256", required=action != "reject", help="of the verdict.json that was looked at"
        )
        _add_order(parser, reason=action != "approve")
        parser.set_defaults(verb=_order, action=action)
    parser = verbs.add_parser("rollback", help="go back to the champion before")
    parser.add_argument("domain", metavar="DOMAIN")
    parser.add_argument("--to", type=int, metavar="N", help="a version that was the champion once")
    _add_order(parser, reason=True)
    parser.set_defaults(verb=_rollback)
    parser = verbs.add_parser("releases", help="versions, verdicts, aliases and the log of what was promoted")
    parser.add_argument("--domain", help="(default: all)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--repair", action="store_true", help="put aliases that were moved by hand back")
    _add_registry(parser)
    parser.set_defaults(verb=_releases)
    parser = verbs.add_parser("retain", help="forget old versions that never were the champion, and their files")
    parser.add_argument("--keep", type=int, default=10, metavar="N", help="newest of each domain (default %(default)s)")
    parser.add_argument("--delete", action="store_true", help="do it; without, it is only said")
    _add_registry(parser)
    parser.set_defaults(verb=_retain)


def _add_order(parser: argparse.ArgumentParser, *, reason: bool) -> None:
    parser.add_argument("--by", required=True, metavar="WHO", help="who orders it")
    parser.add_argument("--reason", default="", required=reason, metavar="TEXT")
    parser.add_argument(
        "--approval",
        metavar="ID",
        help="of the approval, used once: airflow:RUN/TASK, configuration:NAME, or timeout:RUN/TASK",
    )
    parser.add_argument("--approved-at", default="", metavar="TIME", help="ISO 8601; an old approval does not count")
    _add_registry(parser)


def _add_registry(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--registry", metavar="URI", help="the MLflow registry (default: MLFLOW_TRACKING_URI)")
    chosen.add_argument("--run", metavar="URI", help="a run; its registry lies beside it")


def _order(chosen: argparse.Namespace) -> int:
    from modit.release.promotion.promotion import Order, carry_out
    from modit.release.registry.model_version import PREFIX, domain_of, parse_version
    from modit.release.registry.release_log import APPROVE, AUTO, CONFIGURATION

    model, version = parse_version(chosen.version)
    if not model.startswith(PREFIX):
        raise ConfigError(f"MODEL_VERSION {chosen.version!r}: allowed: a model that begins with {PREFIX}")
    approval = _approval(chosen)
    automatic = chosen.action == APPROVE and approval.source == CONFIGURATION
    action = AUTO if automatic else chosen.action
    order = Order(action, domain_of(model), chosen.by, version, chosen.verdict or "", chosen.reason, approval)
    _say(carry_out(_registry(chosen), order), model)
    return 0


def _rollback(chosen: argparse.Namespace) -> int:
    from modit.release.promotion.promotion import Order, carry_out
    from modit.release.registry.model_version import model_name
    from modit.release.registry.release_log import ROLLBACK

    order = Order(ROLLBACK, chosen.domain, chosen.by, chosen.to, "", chosen.reason, _approval(chosen))
    _say(carry_out(_registry(chosen), order), model_name(chosen.domain))
    return 0


def _releases(chosen: argparse.Namespace) -> int:
    from modit.release.promotion.overview import overview, overview_text

    registry = _registry(chosen)
    domains = [chosen.domain] if chosen.domain else registry.domains()
    found = [overview(registry, domain, repair=chosen.repair) for domain in domains]
    text = json.dumps(found, indent=1) if chosen.json else "\n\n".join(map(overview_text, found))
    print(text or "no model is registered")
    return int(any(each["problem"] for each in found))


def _retain(chosen: argparse.Namespace) -> int:
    from modit.release.promotion.retention import carry_out_retention, plan_retention, retention_text

    registry = _registry(chosen)
    plan = plan_retention(registry, chosen.keep)
    if chosen.delete:
        carry_out_retention(registry, plan)
    print(retention_text(plan, done=chosen.delete))
    return 0


def _approval(chosen: argparse.Namespace) -> Approval:
    from modit.release.registry.release_log import parse_approval

    return parse_approval(chosen.approval or "", chosen.approved_at)


def _registry(chosen: argparse.Namespace) -> MlflowRegistry:
    from modit.release.registry.address import registry_uri
    from modit.release.registry.opening import existing_registry

    return existing_registry(chosen.registry or registry_uri(chosen.run))


def _say(entry: Entry, model: str) -> None:
    champion = f"version {entry.champion_after}" if entry.champion_after else "no version"
    print(f"{entry.action} of {model} version {entry.version} is entry {entry.number}; the champion is {champion}")
