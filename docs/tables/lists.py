"""Lists of names with their meaning: rules, refusals, attacks, alerts, metrics, rooms of the code, decision records."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from docs.tables.markdown import ROOT, code, table


def rules() -> str:
    """The rules of the input contract, with the tables and the limits of each."""
    from modit.data.params import ValidationParams
    from modit.data.rules import NONE, RULES

    params, rows = ValidationParams(), []
    for name, rule in RULES.items():
        places = []
        for place, limits in rule.ranges.items():
            low, high = rule.bounds(place, params)
            if rule.is_on_rows:
                places.append(f"{place}: at most {high:.0%} of the rows (`{limits[1]}`)")
            else:
                places.append(place if limits == NONE else f"{place}: {low:g} to {high:g}")
        effect = "sets rows aside" if rule.is_on_rows else "refuses"
        rows.append([f"`{name}`", rule.meaning, effect, "; ".join(places)])
    return table(["rule", "holds when", "a breach", "where, and the default limit"], rows)


def refusals() -> str:
    """The names of refused promotions."""
    from modit.release.model_registry.refusals import NAMES

    return table(["name", "when"], ([f"`{name}`", text] for name, text in NAMES.items()))


def attacks() -> str:
    """The attacks of the tests, with the name that each is refused by."""
    from tests.unit.release.attacks.all_attacks import ATTACKS

    rows = ([str(number), attack.words, f"`{attack.name}`"] for number, attack in enumerate(ATTACKS, 1))
    return table(["#", "what is tried", "refused as"], rows)


def alerts() -> str:
    """The alerts with their runbooks."""
    groups = yaml.safe_load((ROOT / "infra/monitoring/rules.yaml").read_text())["groups"]
    found = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    rows = []
    for rule in found:
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: label[1].upper(), rule["annotations"]["summary"])
        summary = re.sub(r"\{\{.*?\}\}", "N", summary)
        rows.append([f"[{rule['alert']}]({rule['alert']}.md)", rule["labels"]["severity"], summary])
    return table(["alert", "severity", "message"], rows)


def service_metrics() -> str:
    """The metrics of `modit serve`."""
    from modit.serve.metrics import REGISTRY, release_metrics

    rows = []
    for registry in (REGISTRY, release_metrics([])):
        for family in registry.collect():
            if not family.name.startswith("modit"):
                continue
            labels = registry._names_to_collectors[family.name]._labelnames  # type: ignore[attr-defined]
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append([f"`{name}`", family.type, code(labels), family.documentation])
    return table(["metric", "type", "labels", "meaning"], rows)


def exporter_metrics() -> str:
    """The metrics of `modit exporter`."""
    from modit.monitor.exporter import OWN_METRICS, RUN_METRICS

    rows = [[f"`{name}`", code(labels), text] for name, (text, labels) in RUN_METRICS.items()]
    rows += [[f"`{name}`", "", text] for name, text in OWN_METRICS.items()]
    return table(["metric", "labels", "meaning"], rows)


def rooms() -> str:
    """The packages of the library and what each may import."""
    from tests.unit.test_import_rules import OUTSIDE, ROOMS

    rows = []
    for name, allowed in ROOMS.items():
        outside = sorted(OUTSIDE.get(name, ()))
        rows.append(
            [f"`{name}/`", _summary(f"modit.{name}"), ", ".join([*(n for n in ROOMS if n in allowed), *outside])]
        )
    return table(["package", "content", "may import"], rows)


def _summary(module: str) -> str:
    path = ROOT / "src" / Path(*module.split(".")) / "__init__.py"
    text = re.match(r'"""(.+?)(?:"""|\n\n)', path.read_text(), re.DOTALL)
    return " ".join(text[1].split()).removesuffix(".") if text else ""


def records() -> str:
    """The decision records, with what became of them."""
    rows = []
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        text = path.read_text()
        title, state = (
            re.match(r"# \d+\. (.+)", text),
            re.search(r"^\*\*(Superseded|Withdrawn)\*\*", text, re.MULTILINE),
        )
        rows.append(
            [
                f"[{path.name[:4]}]({path.name})",
                (title[1] if title else "") + (f" ({state[1].lower()})" if state else ""),
            ]
        )
    return table(["record", "decision"], rows)
