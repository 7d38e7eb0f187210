"""Writes the tables of the documentation that are data: `python -m docs.generate [--check]`.

A page holds `<!-- generated: NAME -->` and `<!-- end -->`; the lines between them come from the function of that
name in `BLOCKS`. Edit the code that a table describes, then run this. A test fails while a page is out of date.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from components.registry import REGISTRY
from modit.core.names import PRESETS
from modit.core.services import ARTIFACT_STORE, SERVICES
from modit.core.step import IMAGES, Step

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_WIDTH = 110


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table.

    Args:
        header: titles of the columns.
        rows: cells; line breaks and bars are escaped.

    Returns:
        The lines, ending with a line break.
    """
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def code(names: Iterable[str]) -> str:
    """Names as code, separated by spaces."""
    return " ".join(f"`{name}`" for name in names)


# --- steps, artifacts, images, services -------------------------------------------------------------------------------


def _numbered(steps: Iterable[Step]) -> list[Step]:
    """The steps without the repeats of a group: of `hppo_round_1` to `_4` only the first."""
    seen: set[str] = set()
    chosen = []
    for step in steps:
        name = _general(step.name)
        if name not in seen:
            seen.add(name)
            chosen.append(step)
    return chosen


def _general(name: str) -> str:
    """`hppo_round_2` and `hppo_2` as `hppo_round_R` and `hppo_R`; other names as they are."""
    return re.sub(r"_\d+$", "_R", name)


def _generals(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_general(name) for name in names))


def steps() -> str:
    """What each step reads and writes, how often it runs, and what it needs."""
    rows = []
    for step in _numbered(REGISTRY.steps):
        resources = step.resources
        needs = f"{resources.cpus:g} CPU, {resources.memory_gb:g} GiB" + (", GPU" if resources.gpus else "")
        reads = (["the input catalogue"] if step.reads_catalogue else []) + [code(_generals(step.inputs))]
        runs = "each domain" if step.per_domain else "once"
        rows.append(
            [
                f"`{_general(step.name)}`",
                runs + (", in shards" if step.sharded else ""),
                ", ".join(filter(None, reads)),
                code(_generals(step.outputs)),
                code(step.params),
                needs,
            ]
        )
    return table(["step", "runs", "reads", "writes", "parameters", "resources"], rows)


def pipelines() -> str:
    """The pipelines, with what each is for."""
    rows = []
    for each in REGISTRY.pipelines:
        steps = len(REGISTRY.of(each.name).steps)
        rows.append([f"`{each.name}`", each.description, code(each.ends), f"`{each.job}`", str(steps)])
    return table(["pipeline", "purpose", "end artifacts", "Airflow DAG", "steps"], rows)


def artifacts() -> str:
    """Which step writes each artifact, and which steps read it."""
    rows = []
    for step in _numbered(REGISTRY.steps):
        for output in step.outputs:
            general = _general(output)
            place = f"`{general}/DOMAIN/`" if step.per_domain else f"`{general}/`"
            readers = _generals(each.name for each in REGISTRY.steps if general in _generals(each.inputs))
            rows.append([place, f"`{_general(step.name)}`", code(readers)])
    return table(["artifact", "written by", "read by"], rows)


def images() -> str:
    """The steps that run in each image."""
    rows = [[f"`{name}`", code(_generals(s.name for s in REGISTRY.steps if s.image == name))] for name in IMAGES]
    return table(["image", "steps"], rows)


def services() -> str:
    """The variables of each service, and the steps that get them."""
    rows = []
    for name, service in SERVICES.items():
        needing = [step.name for step in REGISTRY.steps if name in step.needs]
        steps = "every step" if name == ARTIFACT_STORE else code(needing)
        rows.append([f"`{name}`", steps, code(service.settings), code(service.secrets)])
    return table(["service", "steps", "variables", "secret variables"], rows)


# --- parameters -------------------------------------------------------------------------------------------------------


def attributes(model: type) -> dict[str, str]:
    """The meaning of each attribute, from the `Attributes:` sections of a class and its bases.

    Args:
        model: a class with Google docstrings.

    Returns:
        Name to text, in one line.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", inspect.cleandoc(base.__doc__ or ""), re.MULTILINE)
        for name, text in re.findall(
            r"^ {4}(\w+): ((?:.*\n?)(?: {5,}.*\n?)*)", section[1] if section else "", re.MULTILINE
        ):
            found[name] = " ".join(text.split())
    return found


def _type(annotation: Any) -> str:
    """A type as text: ranges of `Annotated` are left out, since messages name them."""
    if get_origin(annotation) is None:
        return "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
    arguments = [each for each in get_args(annotation) if each is not Ellipsis]
    name = str(get_origin(annotation))
    if "Literal" in name:
        return ", ".join(f"`{each}`" for each in arguments)
    if "Annotated" in name:
        return _type(arguments[0])
    if "Union" in name:
        return " or ".join(_type(each) for each in arguments)
    inner = ", ".join(dict.fromkeys(_type(each) for each in arguments))
    return f"list of {inner}" if name in ("<class 'tuple'>", "<class 'list'>") else f"mapping of {inner}"


def _bounds(field: Any) -> str:
    """The range of a number, such as `>= 0, < 1`."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [f"{signs[key]} {getattr(each, key):g}" for each in field.metadata for key in signs if hasattr(each, key)]
    return ", ".join(found)


def parameters() -> str:
    """All sections of `params.yaml`: each field with its range, its value by preset and its meaning."""
    from modit.params import Params

    text = yaml.safe_load((ROOT / "params.yaml").read_text())
    parts = []
    for section, field in Params.model_fields.items():
        model = field.annotation
        if not hasattr(model, "model_fields"):
            continue
        meanings, rows = attributes(model), []
        for name, each in model.model_fields.items():
            label = each.alias or name
            values = [_value(text, section, label, each, preset) for preset in PRESETS]
            shown = values[0] if len(set(values)) == 1 else ", ".join(map(": ".join, zip(PRESETS, values, strict=True)))
            allowed = _bounds(each)
            rows.append(
                [
                    f"`{label}`",
                    _type(each.annotation) + (f", {allowed}" if allowed else ""),
                    shown,
                    meanings.get(name, ""),
                ]
            )
        summary = inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
        parts.append(
            f"## {section}\n\n{summary}\n\n" + (table(["field", "type", "value", "meaning"], rows) if rows else "")
        )
    return "\n" + "\n".join(parts) + "\n"


def _value(text: dict[str, Any], section: str, name: str, field: Any, preset: str) -> str:
    for place in (text["presets"].get(preset) or {}, text):
        if name in (place.get(section) or {}):
            return _shown(place[section][name])
    default = field.get_default(call_default_factory=True)
    return _shown(default.model_dump(mode="json") if hasattr(default, "model_dump") else default)


def _shown(value: Any) -> str:
    value = list(value) if isinstance(value, tuple | frozenset) else value
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


# --- commands ---------------------------------------------------------------------------------------------------------


def commands() -> str:
    """What `modit COMMAND --help` prints, for every command."""
    return "\n" + "".join(_helps(_modit(), "modit"))


def _modit() -> argparse.ArgumentParser:
    from modit.cli import build_parser

    return build_parser()


def _helps(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each, child in action.choices.items():
                if any(isinstance(below, argparse._SubParsersAction) for below in child._actions):
                    yield from _helps(child, f"{name} {each}")
                else:
                    yield f"## {name} {each}\n\n```text\n{child.format_help()}```\n\n"


def step_command() -> str:
    """What `python -m components --help` prints."""
    return "```text\n" + _output("components", "--help") + "```\n"


def make_help() -> str:
    """What `make help` prints."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return f"```text\n{printed.stdout}```\n"


def _output(module: str, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": str(_WIDTH), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    environment.pop("MODIT_PARAMS", None)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


# --- rules, refusals, attacks, alerts ---------------------------------------------------------------------------------


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


# --- metrics and the HTTP API -----------------------------------------------------------------------------------------


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


def _fields(model: type) -> str:
    rows = []
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        default = "required" if field.is_required() else _shown_default(field)
        rows.append(
            [f"`{name}`", _type(field.annotation), default, field.description or attributes(model).get(name, "")]
        )
    return table(["field", "type", "default", "meaning"], rows)


def _shown_default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value is None or isinstance(value, BaseModel) else _shown(value)


def request_fields() -> str:
    """The fields of a request."""
    from modit.serve.schema import RetrieveRequest

    return _fields(RetrieveRequest)


def seeds_fields() -> str:
    """The fields of `seeds`."""
    from modit.serve.schema import Seeds

    return _fields(Seeds)


def answer_fields() -> str:
    """The fields of an answer."""
    from modit.serve.schema import RetrieveAnswer

    return _fields(RetrieveAnswer)


def item_fields() -> str:
    """The fields of an item of an answer."""
    from modit.serve.schema import ResultItem

    return _fields(ResultItem)


def seed_source_fields() -> str:
    """The fields of `seed_source`."""
    from modit.serve.schema import SeedSource

    return _fields(SeedSource)


# --- rooms ------------------------------------------------------------------------------------------------------------


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
    for path in sorted((PAGES / "adr").glob("[0-9]*.md")):
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


BLOCKS: dict[str, Callable[[], str]] = {
    "alerts": alerts,
    "answer-fields": answer_fields,
    "artifacts": artifacts,
    "attacks": attacks,
    "commands": commands,
    "exporter-metrics": exporter_metrics,
    "images": images,
    "item-fields": item_fields,
    "make-help": make_help,
    "parameters": parameters,
    "pipelines": pipelines,
    "records": records,
    "refusals": refusals,
    "request-fields": request_fields,
    "rooms": rooms,
    "rules": rules,
    "seed-source-fields": seed_source_fields,
    "seeds-fields": seeds_fields,
    "service-metrics": service_metrics,
    "services": services,
    "step-command": step_command,
    "steps": steps,
}


def rewritten(text: str) -> str:
    """A page with fresh blocks.

    Args:
        text: the page as it is.

    Returns:
        The page as it must be.

    Raises:
        KeyError: the page names a block that does not exist.
    """
    return _BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]]() + found[4], text)


def outdated() -> dict[Path, str]:
    """The pages whose blocks differ from the code, with what they must hold."""
    os.environ["COLUMNS"] = str(_WIDTH)
    texts = {path: path.read_text() for path in sorted(PAGES.rglob("*.md"))}
    return {path: new for path, text in texts.items() if (new := rewritten(text)) != text}


def main() -> int:
    """Rewrites the pages; with `--check` it only says which ones are out of date, and then the status is 1."""
    parser = argparse.ArgumentParser(description="Writes the generated tables of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    pages = outdated()
    for path, text in pages.items():
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text)
    return int(check and bool(pages))


if __name__ == "__main__":
    sys.exit(main())
