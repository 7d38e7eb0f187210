"""`run.json`: what a run is about, written once and never changed; also the domain that a run adds to another run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import fsspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from modit.core.artifacts import ArtifactStore, Manifest
from modit.core.errors import ConfigError
from modit.core.names import DOMAIN_NAME, JUDGED_ONCE, PRESETS, SCORER, VERDICT_FILE
from modit.core.params import Seed
from modit.core.registry import DOMAINS_FILE, Registry
from modit.core.step import Step
from modit.core.storage import Storage
from modit.core.window import NamedWindow


def _absolute_file(scorer: str) -> str:
    return _absolute(scorer) if re.search(VERDICT_FILE, scorer) else scorer


def _not_reserved(name: str) -> str:
    if name in JUDGED_ONCE:
        raise ValueError(f"{name} is what {JUDGED_ONCE[name]} are called; allowed: another name")
    return name


class NewDomain(BaseModel):
    """What a run that adds a domain starts from.

    Attributes:
        name: of the domain.
        run: address of the run whose catalogue, index and shared checkpoint it takes.
        scorer: a column of `items`, `package.module:function`, or the address of a file with an item id and a verdict
            in each row; empty for the column `attr_NAME`. A name that ends as a file's does is a file.
        label_budget: most verdicts of the scorer; a function is asked about no more items. None for no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=rf"^{DOMAIN_NAME.pattern}$"), AfterValidator(_not_reserved)]
    run: Annotated[str, Field(min_length=1), AfterValidator(lambda uri: Storage(uri).uri)]
    scorer: Annotated[str, StringConstraints(pattern=SCORER), AfterValidator(_absolute_file)] = ""
    label_budget: Annotated[int, Field(ge=1)] | None = None

    @property
    def file(self) -> str | None:
        """Address of the file with the scorer's verdicts; None where they come from elsewhere."""
        return self.scorer if re.search(VERDICT_FILE, self.scorer) else None

    @property
    def column(self) -> str | None:
        """The column of `items` with the scorer's verdicts; None where they come from elsewhere."""
        return None if self.file or self.entry_point else self.scorer or f"attr_{self.name}"

    @property
    def entry_point(self) -> tuple[str, str] | None:
        """Module and name of the function that is asked; None where the verdicts come from elsewhere."""
        module, colon, function = self.scorer.partition(":")
        return (module, function) if colon and not self.file else None

    def started_from(self, store: ArtifactStore) -> ArtifactStore:
        """The artifacts of the run that it starts from; `store` is that of the run that adds the domain."""
        return ArtifactStore(Storage(self.run), store.cache)

    def artifacts_there(self, registry: Registry, step: Step, store: ArtifactStore) -> dict[tuple[str, str], Manifest]:
        """What a step reads of the domains of that run: name and domain -> manifest, of those that are there.

        Args:
            registry: all steps.
            step: with `of_started_from`.
            store: that of the run that adds the domain.
        """
        other, deciding = self.started_from(store), registry.domain_step
        if not step.of_started_from or deciding is None or other.find(deciding.outputs[0]) is None:
            return {}
        domains = other.read_json(deciding.outputs[0], DOMAINS_FILE)["domains"]
        places = [(name, domain) for name in step.of_started_from for domain in sorted(domains)]
        return {place: made for place in places if (made := other.find(*place))}


RUN_FILE = "run.json"
# Of the run that a domain is added to.
_INHERITED = ("pipeline", "catalogue", "seed", "preset", "overrides", "window")


class RunConfig(BaseModel):
    """What a run is about.

    Attributes:
        catalogue: address of the input; absolute when local.
        domains: "all", or the names of those to take.
        seed: of the run; None takes that of params.yaml.
        preset: size preset of params.yaml.
        overrides: over the preset, nested or dotted.
        window: the days to read, `{"start": ..., "end": ...}` or `{"end": ...}`; None reads everything.
        pipeline: name of the pipeline whose steps the run consists of; None for the default one.
        promote: whether a version that passes may become the challenger; a backfill's never does.
        new_domain: the domain that the run adds to another run; it is then the run's only one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalogue: str = Field(min_length=1)
    domains: Literal["all"] | tuple[str, ...] = "all"
    seed: Seed | None = None
    preset: Literal[PRESETS] = "small"  # type: ignore[valid-type]
    overrides: dict[str, Any] = {}
    window: NamedWindow | None = None
    pipeline: str | None = None
    promote: bool = True
    new_domain: NewDomain | None = None


def open_run(run: Storage, conf: dict[str, Any] | None) -> RunConfig:
    """Reads `run.json`, or makes it when it is not there.

    Args:
        run: the run's folder.
        conf: fields that the caller wants; they must agree with a `run.json` that exists. None takes what is there.

    Raises:
        ConfigError: a field is not allowed, or differs from `run.json`; or there is neither `run.json` nor `conf`.
    """
    wanted = wanted_config(conf) if conf is not None else None
    stored = run.read_json(RUN_FILE)
    if stored is None:
        if wanted is None:
            raise ConfigError(f"{run.uri}/{RUN_FILE} is missing; start the run with --conf '{{\"catalogue\": ...}}'")
        if run.create_json(RUN_FILE, wanted.model_dump(mode="json")):
            return wanted
        stored = run.read_json(RUN_FILE) or {}
    config = parse_run_config(stored, f"{run.uri}/{RUN_FILE}")
    if wanted is not None:
        _expect_agreement(config, wanted, conf or {}, f"{run.uri}/{RUN_FILE}")
    return config


def wanted_config(conf: dict[str, Any]) -> RunConfig:
    """The run that a caller wants. One that adds a domain has what it does not name from the run that it starts from.

    Raises:
        ConfigError: a field is missing or unknown, or its value is not allowed; or there is no such run.
    """
    if not conf.get("new_domain"):
        return parse_run_config(conf, "--conf")
    new = parse_run_config({"catalogue": "-", "new_domain": conf["new_domain"]}, "--conf").new_domain
    before = Storage(new.run).read_json(RUN_FILE) if new else None
    if new is None or before is None:
        raise ConfigError(f"--conf: field new_domain.run: {conf['new_domain']['run']!r} is no run: no {RUN_FILE} there")
    inherited = {name: before[name] for name in _INHERITED if name in before}
    return parse_run_config(inherited | conf, "--conf")


def json_object(text: str, option: str = "--conf") -> dict[str, Any]:
    """Reads the value of an option; ConfigError if it is not a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f'{option} {text!r}; allowed: a JSON object, {{"NAME": VALUE, ...}}')
    return value


def parse_run_config(value: dict[str, Any], source: str) -> RunConfig:
    """Checks the fields of a run, which messages name by their `source`.

    Raises:
        ConfigError: a field is missing or unknown, or its value is not allowed.
    """
    try:
        config = RunConfig.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        allowed = f"; allowed fields: {', '.join(RunConfig.model_fields)}"
        raise ConfigError(f"{source}: field {place}: {problem['input']!r}: {problem['msg']}{allowed}") from error
    domains = config.domains if config.domains == "all" else tuple(sorted(set(config.domains)))
    if config.new_domain:
        if domains not in ("all", (config.new_domain.name,)):
            raise ConfigError(
                f"{source}: field domains: {domains!r}; a run that adds a domain has no other: {config.new_domain.name}"
            )
        domains = (config.new_domain.name,)
    return config.model_copy(update={"catalogue": _absolute(config.catalogue), "domains": domains})


def _absolute(catalogue: str) -> str:
    if fsspec.utils.get_protocol(catalogue) == "file":
        return str(Path(catalogue.removeprefix("file://")).resolve())
    return catalogue.rstrip("/")


def _expect_agreement(stored: RunConfig, wanted: RunConfig, given: dict[str, Any], source: str) -> None:
    for name in given:
        there, asked = getattr(stored, name), getattr(wanted, name)
        if name == "pipeline" and there is None:
            continue  # a run of a version that had one pipeline
        if there != asked:
            raise ConfigError(f"{source}: field {name} is {there!r}, --conf says {asked!r}; take another run folder")
