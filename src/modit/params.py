"""All parameters of modit, assembled from the rooms that own them, and how `params.yaml` is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, ValidationInfo, field_validator

from modit.core.errors import ConfigError
from modit.core.names import PRESETS
from modit.core.params import RunParams, merged, nested
from modit.data.params import ValidationParams
from modit.evaluate.params import FanOutEvaluationParams, NextItemParams, SearchParams
from modit.fan_out.params import FanOutParams, SetDiffusionParams, SoftGrpoParams
from modit.features.params import FeatureParams
from modit.hppo.params import VARIANTS, HPPOParams, HPPOVariantsParams, SecondStageParams
from modit.index.params import ConsistentIndexParams, IndexParams, RetrievalParams
from modit.metric.params import AnchorParams, PatternParams, SequenceParams
from modit.release.params import (
    FanOutGateParams,
    GateParams,
    NextItemGateParams,
    SearchGateParams,
    ServabilityParams,
    SnapshotParams,
    StartingPointParams,
)
from modit.semantic_ids.params import (
    AdaGrpoParams,
    NeighbourParams,
    PreferenceParams,
    RetrieverParams,
    RewardRankerParams,
    TokenizerParams,
)
from modit.towers.params import TowersParams
from modit.training.params import FinetuneParams, ModelParams, OptimizerParams, SamplerParams, SasrecParams


class Params(RunParams):
    """All of params.yaml but its presets: a field for each section, named as in the file."""

    retrieval: RetrievalParams = RetrievalParams()
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
    fit_second_stage: SecondStageParams = SecondStageParams()
    starting_point: StartingPointParams = StartingPointParams()
    tokenize_items: TokenizerParams = TokenizerParams()
    train_retriever: RetrieverParams = RetrieverParams()
    align_rad_dpo: PreferenceParams = PreferenceParams()
    reward_ranker: RewardRankerParams = RewardRankerParams()
    align_adagrpo: AdaGrpoParams = AdaGrpoParams()
    fit_item_neighbours: NeighbourParams = NeighbourParams()
    snapshot: SnapshotParams = SnapshotParams()
    servability: ServabilityParams = ServabilityParams()
    gate: GateParams = GateParams()
    train_sasrec: SasrecParams = SasrecParams()
    evaluate_next_item: NextItemParams = NextItemParams()
    gate_next_item: NextItemGateParams = NextItemGateParams()
    train_towers: TowersParams = TowersParams()
    stage_consistent_index: ConsistentIndexParams = ConsistentIndexParams()
    evaluate_search: SearchParams = SearchParams()
    gate_search: SearchGateParams = SearchGateParams()
    gate_fan_out: FanOutGateParams = FanOutGateParams()
    train_fan_out: FanOutParams = FanOutParams()
    align_fan_out: SoftGrpoParams = SoftGrpoParams()
    train_set_diffusion: SetDiffusionParams = SetDiffusionParams()
    evaluate_fan_out: FanOutEvaluationParams = FanOutEvaluationParams()

    @field_validator("hppo_variants")
    @classmethod
    def _beside_hppo(cls, variants: HPPOVariantsParams, info: ValidationInfo) -> HPPOVariantsParams:
        own = info.data["hppo"].variant if "hppo" in info.data else None
        if own in variants.names:
            allowed = ", ".join(name for name in VARIANTS if name != own)
            raise ValueError(f"names holds {own!r}, which section hppo runs already; allowed: {allowed}")
        return variants


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
    values = merged(merged(content, presets[preset] or {}), nested(overrides or {}))
    try:
        return Params.model_validate(values)
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
