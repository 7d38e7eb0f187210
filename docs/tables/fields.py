"""Fields of typed models: the sections of `params.yaml`, and requests and answers of the HTTP API."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from docs.tables.markdown import ROOT, table
from modit.core.names import PRESETS


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


def api_fields(name: str) -> str:
    """The fields of a model of `modit.serve.schema`."""
    from modit.serve import schema

    model, rows = getattr(schema, name), []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown_default(field)
        rows.append(
            [f"`{name}`", _type(field.annotation), default, field.description or attributes(model).get(name, "")]
        )
    return table(["field", "type", "default", "meaning"], rows)


def _shown_default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value is None or isinstance(value, BaseModel) else _shown(value)
