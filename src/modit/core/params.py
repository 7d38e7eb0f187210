"""`params.yaml`: one section a step, size presets as overrides, every field checked when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from modit.core.errors import ConfigError
from modit.core.sections.core import RunnerParams, WindowParams
from modit.core.sections.data import ValidationParams
from modit.core.sections.features import FeatureParams
from modit.core.sections.hppo import VARIANTS, HPPOParams, HPPOVariantsParams
from modit.core.sections.index import IndexParams, RetrievalParams
from modit.core.sections.metric import AnchorParams, PatternParams, SequenceParams
from modit.core.sections.model import ModelParams, SamplerParams
from modit.core.sections.release import ExportParams, GateParams, ServabilityParams, SnapshotParams
from modit.core.sections.section import Section
from modit.core.sections.train import FinetuneParams, OptimizerParams
from modit.core.step import PRESETS

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Params(Section):
    """All of params.yaml but its presets.

    Attributes:
        seed: of the run; every random stream derives from it.
    """

    seed: Seed = 0
    runner: RunnerParams = RunnerParams()
    retrieval: RetrievalParams = RetrievalParams()
    window: WindowParams = WindowParams()
    validate_logs: ValidationParams = ValidationParams()
    assign_patterns: PatternParams = PatternParams()
    stage_index: IndexParams = IndexParams()
    label_anchors: AnchorParams = AnchorParams()
    publish_features: FeatureParams = FeatureParams()
    build_trajectories: SequenceParams = SequenceParams()
    model: ModelParams = ModelParams()
    pretrain: OptimizerParams = OptimizerParams()
    continue_pretrain: OptimizerParams = OptimizerParams()
    finetune: FinetuneParams = FinetuneParams()
    hppo: HPPOParams = HPPOParams()
    hppo_variants: HPPOVariantsParams = HPPOVariantsParams()
    sampler: SamplerParams = SamplerParams()
    export_sampler: ExportParams = ExportParams()
    snapshot: SnapshotParams = SnapshotParams()
    servability: ServabilityParams = ServabilityParams()
    gate: GateParams = GateParams()

    @field_validator("hppo_variants")
    @classmethod
    def _beside_hppo(cls, variants: HPPOVariantsParams, info: ValidationInfo) -> HPPOVariantsParams:
        own = info.data["hppo"].variant if "hppo" in info.data else None
        if own in variants.names:
            allowed = ", ".join(name for name in VARIANTS if name != own)
            raise ValueError(f"names holds {own!r}, which section hppo runs already; allowed: {allowed}")
        return variants

    def sections(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The values of some sections as JSON, as they enter a step's key.

        Raises:
            ConfigError: there is no such section.
        """
        values = self.model_dump(mode="json", by_alias=True)
        unknown = sorted(set(names) - set(values))
        if unknown:
            raise ConfigError(f"params.yaml has no section {', '.join(unknown)}; known: {', '.join(values)}")
        return {name: values[name] for name in sorted(names)}


def load_params(path: Path, preset: str, overrides: dict[str, Any] | None = None) -> Params:
    """Reads params.yaml: its sections, over them the preset's, over them the overrides.

    Args:
        path: the file.
        preset: one of `PRESETS`; the file holds its overrides under `presets`.
        overrides: nested (`{"pretrain": {"steps": 10}}`) or dotted (`{"pretrain.steps": 10}`).

    Raises:
        ConfigError: no such file or preset, or a value that is not allowed; the message names file, section,
            field, value and what is allowed.
    """
    content = _read_yaml(path)
    presets = content.pop("presets", {})
    if preset not in presets:
        raise ConfigError(f"{path}: no preset {preset!r} under `presets`; allowed: {', '.join(presets) or PRESETS}")
    merged = _merge(_merge(content, presets[preset] or {}), nested(overrides or {}))
    try:
        return Params.model_validate(merged)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{path} (preset {preset}): " + "; ".join(lines)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; it holds the parameters of all steps") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections, found {type(content).__name__}")
    return content


def nested(overrides: dict[str, Any]) -> dict[str, Any]:
    """Overrides by section: `{"pretrain.steps": 10}` becomes `{"pretrain": {"steps": 10}}`."""
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        found = _merge(found, value)
    return found


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if both else value
    return merged


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    place = f"section {location[0]}" + (f", field {'.'.join(location[1:])}" if len(location) > 1 else "")
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown; allowed: {', '.join(_fields_at(location[:-1]))}"
    return f"{place}: {problem['input']!r} is not allowed: {problem['msg']}"


def _fields_at(location: list[str]) -> list[str]:
    section: Any = Params
    for part in location:
        section = {field.alias or name: field.annotation for name, field in section.model_fields.items()}[part]
    return [field.alias or name for name, field in section.model_fields.items()]
