"""Base of the sections of `params.yaml`, the sections that `core/` itself reads, and how overrides are merged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modit.core.errors import ConfigError

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
AtLeastZero = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """Base of every section: unknown fields are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunnerParams(Section):
    """Section `runner`: how steps run; nothing here changes what they write.

    Attributes:
        cross_run_cache: take artifacts of equal key from earlier runs beside this one.
        log_level: lowest level of log lines that are written.
        lease_minutes: how long a run that died prevents other runs of its catalogue from starting.
    """

    cross_run_cache: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    lease_minutes: Annotated[float, Field(gt=0)] = 10.0


class WindowParams(Section):
    """Section `window`: which days a run reads, and which earlier windows they are compared with.

    Attributes:
        length_days: days of a window whose conf names only its end.
        overlap_days: days before the window that are read again for late rows; also how many days a row may lie away
            from the day of its partition.
        history_windows: how many accepted windows before this one volumes and rates are compared with.
    """

    length_days: Positive = 30
    overlap_days: AtLeastZero = 2
    history_windows: Positive = 5


class RunParams(Section):
    """Parameters that every project has. A project adds a field per section to this model.

    Attributes:
        seed: of the run; every random stream derives from it.
        runner: how steps run.
        window: which days a run reads.
    """

    seed: Seed = 0
    runner: RunnerParams = RunnerParams()
    window: WindowParams = WindowParams()

    def sections(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns the values of some sections as JSON, as they enter a step's key.

        Raises:
            ConfigError: there is no such section.
        """
        values = self.model_dump(mode="json", by_alias=True)
        if unknown := sorted(set(names) - set(values)):
            raise ConfigError(f"params.yaml has no section {', '.join(unknown)}; known: {', '.join(values)}")
        return {name: values[name] for name in sorted(names)}


def nested(overrides: dict[str, Any]) -> dict[str, Any]:
    """Returns overrides by section: `{"pretrain.steps": 10}` becomes `{"pretrain": {"steps": 10}}`."""
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        found = merged(found, value)
    return found


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Returns `below` with the values of `above` over it, section by section."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result
