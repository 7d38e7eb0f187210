import pytest

from modit.release.model_registry.mlflow_registry import MlflowRegistry


@pytest.fixture(scope="session")
def shared_registry(tmp_path_factory):
    """One SQLite for all tests: MLflow needs seconds to make its tables. Tests use domains of their own."""
    folder = tmp_path_factory.mktemp("registry")
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", f"file://{folder}/artifacts")


@pytest.fixture
def world(tmp_path, shared_registry, sampler_file):
    from tests.unit.release.world import World  # which imports this file

    return World(tmp_path, shared_registry, sampler_file)
