"""A room imports only rooms above it, views import only declarations (docs/explanation/architecture.md)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "src" / "modit"

# From the ground up; docs/generate.py makes the table of docs/explanation/architecture.md from it.
ROOMS = {
    "core": set(),
    "data": {"core"},
    "index": {"core", "data"},
    "metric": {"core", "data", "index"},
    "features": {"core", "data", "metric"},
    "model": set(),
    "training": {"core", "data", "metric", "model"},
    "hppo": {"core", "data", "index", "metric", "model", "training"},
    "semantic_ids": {"core", "data", "index", "training", "model"},
    "towers": {"core", "data", "index", "training"},
    "fan_out": {"core", "data", "model", "training", "semantic_ids", "towers"},
    "inference": {"core", "data", "index", "metric"},
    "export": {"core", "data", "index", "metric", "model", "semantic_ids", "towers", "fan_out", "inference"},
    "evaluate": {
        *("core", "data", "index", "metric", "model", "training", "hppo", "semantic_ids", "towers", "fan_out"),
        "inference",
    },
    "release": {"core", "data", "index", "metric", "model", "inference", "evaluate"},
    "monitor": {"core", "release"},
    "serve": {"core", "features", "index", "inference", "release"},
}
# Likewise, inside of `release/`.
RELEASE = {
    "versioning": set(),
    "model_registry": {"versioning"},
    "bundle": {"model_registry"},
    "gate": {"model_registry", "bundle"},
    "promotion": {"model_registry", "bundle"},
}
# Modules of `release/` that every sub-room of it may import; they import no sub-room.
RELEASE_SHARED = ("documents", "kinds", "params", "verdict")
# What a room may take from outside, where that is limited.
OUTSIDE = {
    "core": {"filelock", "pydantic", "fsspec", "numpy"},
    "model": {"torch"},
    "monitor": {"prometheus_client"},
}
# What `serve/` takes of `data/`: the columns that nights read, the names of splits, the mean of seeds.
EXCEPTIONS = {
    ("serve/request_log.py", "modit.data.contract"),
    ("serve/pages.py", "modit.data.splits"),
    ("serve/explore.py", "modit.data.vectors"),
}
ORCHESTRATORS = {"airflow", "kfp", "dvc"}
DECLARATIONS = {f"modit.core.{name}" for name in ("names", "step", "registry", "errors", "memory", "services")}
# What the pipeline for Kubeflow is defined by, and what runs in its containers.
KFP_DEFINITION = (
    "pipelines/kfp_platform.py",
    "pipelines/kfp_graph.py",
    "pipelines/kfp_graph.py",
    "pipelines/kfp_view.py",
)
KFP_TASK = ("pipelines/kfp_platform.py", "pipelines/kfp_task.py")


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, anywhere in it: inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: write the module's full name"
            yield str(node.module)


def top(module: str) -> str:
    return module.split(".")[0]


def from_outside(modules: set[str], own: set[str]) -> set[str]:
    return {top(module) for module in modules} - set(sys.stdlib_module_names) - own


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def rooms_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}


def wrong_imports(folder: Path, package: str, allowed: set[str]) -> list[str]:
    """Imports by a room's files from rooms of the same package that are not allowed."""
    depth = package.count(".") + 2
    own = {"modit", *(f"{package}.{name}" for name in {folder.name, *allowed})}
    return [
        f"{name_of(path)} imports {module}"
        for path in sorted(folder.rglob("*.py"))
        for module in imports(path)
        if f"{module}.".startswith(f"{package}.")
        and ".".join(module.split(".")[:depth]) not in own
        and (str(path.relative_to(LIBRARY)), module) not in EXCEPTIONS
    ]


def test_every_room_has_a_rule():
    assert rooms_in(LIBRARY) == set(ROOMS)


def test_every_sub_room_of_release_has_a_rule():
    assert rooms_in(LIBRARY / "release") == set(RELEASE)


@pytest.mark.parametrize("rooms", [ROOMS, RELEASE], ids=["modit", "release"])
def test_rooms_may_import_only_rooms_above_them(rooms):
    above: set[str] = set()
    for room, allowed in rooms.items():
        assert allowed <= above, room
        above.add(room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it(room):
    assert wrong_imports(LIBRARY / room, "modit", ROOMS[room]) == []


@pytest.mark.parametrize("room", RELEASE)
def test_a_sub_room_of_release_imports_only_sub_rooms_above_it(room):
    assert wrong_imports(LIBRARY / "release" / room, "modit.release", {*RELEASE[room], *RELEASE_SHARED}) == []


@pytest.mark.parametrize("name", RELEASE_SHARED)
def test_what_all_sub_rooms_of_release_share_imports_none_of_them(name):
    found = {module for module in imports(LIBRARY / "release" / f"{name}.py") if "modit.release" in module}
    assert found <= {f"modit.release.{shared}" for shared in RELEASE_SHARED}


def test_only_what_starts_steps_knows_the_parameters_of_all_rooms():
    users = {name_of(path) for path in python_files("src", "components") if "modit.params" in imports(path)}
    assert users == set()


@pytest.mark.parametrize("room", OUTSIDE)
def test_a_room_of_few_dependencies_takes_no_others(room):
    found = {module for path in (LIBRARY / room).rglob("*.py") for module in imports(path)}
    assert from_outside(found, {"modit"}) <= OUTSIDE[room]


@pytest.mark.parametrize("path", python_files("src/modit/inference", "src/modit/serve"), ids=name_of)
def test_what_answers_requests_does_without_torch(path):
    assert "torch" not in {top(module) for module in imports(path)}


@pytest.mark.parametrize("path", python_files("src", "components"), ids=name_of)
def test_neither_library_nor_steps_know_of_orchestrators_or_of_what_lies_above_them(path):
    forbidden = ORCHESTRATORS | {"dags", "tests", "benchmarks"}
    if path != LIBRARY / "cli.py":
        forbidden |= {"pipelines"}
    if path.is_relative_to(LIBRARY) and path != LIBRARY / "steps.py":
        forbidden |= {"components"}
    assert {top(module) for module in imports(path)} & forbidden == set()


@pytest.mark.parametrize("path", python_files("feature_repo"), ids=name_of)
def test_the_feature_repository_imports_feast_the_standard_library_and_itself_only(path):
    assert from_outside(set(imports(path)), {found.stem for found in python_files("feature_repo")}) <= {"feast"}


@pytest.mark.parametrize("path", python_files("src/modit"), ids=name_of)
def test_only_the_room_of_features_knows_of_feast(path):
    assert path.is_relative_to(LIBRARY / "features") or "feast" not in {top(module) for module in imports(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "components").glob("*/__init__.py")), ids=name_of)
def test_a_declaration_imports_the_standard_library_and_declarations_only(path):
    found = set(imports(path))
    assert from_outside(found, {"modit", "components"}) == set()
    assert {module for module in found if top(module) == "modit"} <= {"modit.core.services", "modit.core.step"}


@pytest.mark.parametrize("path", sorted((ROOT / "components").glob("*/run.py")), ids=name_of)
def test_a_steps_run_takes_from_other_steps_only_their_declarations(path):
    found = {module for module in imports(path) if top(module) == "components"}
    assert {module for module in found if module.endswith(".run")} == set()


def dag_files() -> list[Path]:
    ignored = (ROOT / "dags" / ".airflowignore").read_text().split()
    return sorted(path for path in (ROOT / "dags").glob("*.py") if path.name not in ignored)


@pytest.mark.parametrize("path", dag_files(), ids=name_of)
def test_a_dag_file_imports_airflow_declarations_and_the_standard_library_only(path):
    found = set(imports(path))
    assert from_outside(found, {"modit", "components", "dags"}) <= {"airflow"}
    assert {module for module in found if top(module) == "modit"} <= DECLARATIONS
    assert {module for module in found if top(module) == "components"} <= {"components.registry"}


@pytest.mark.parametrize("name", KFP_DEFINITION)
def test_the_definition_of_the_kubeflow_pipeline_imports_kfp_and_declarations_only(name):
    found = set(imports(ROOT / name))
    assert from_outside(found, {"modit", "components", "pipelines"}) <= {"kfp"}
    assert {module for module in found if top(module) == "modit"} <= DECLARATIONS
    assert {module for module in found if top(module) == "components"} <= {"components.registry"}


@pytest.mark.parametrize("name", KFP_TASK)
def test_what_runs_in_a_container_of_kubeflow_does_without_kfp(name):
    found = set(imports(ROOT / name))
    assert from_outside(found, {"modit", "pipelines"}) == set()
    assert {module for module in found if top(module) == "pipelines"} <= {"pipelines.kfp_platform"}
