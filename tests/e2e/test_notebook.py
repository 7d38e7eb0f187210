"""The notebook of the documentation runs from its first cell to its last, as it is."""

from __future__ import annotations

import json

import pytest
from nbformat.v4 import new_code_cell

from docs.run_notebooks import NOTEBOOKS, read, run
from tests.e2e.service import ROOT

pytestmark = pytest.mark.e2e
(FROM_TITLES,) = NOTEBOOKS
# What a last cell tells of the notebook's variables.
LOOK = """
import json
print(json.dumps({
    "status": run.verdict["status"].tolist(),
    "in_process": answers["item_id"].tolist(),
    "served": [item.item_id for item in served.items],
    "model": served.model,
    "seeds": seeds["item_id"].tolist(),
    "results": run.results.to_dict("records"),
    "compared": compared.T.to_dict(),
    "exit": service.returncode,
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What the notebook found, in an empty folder and with no setting of the person who runs the tests."""
    folder, notebook = tmp_path_factory.mktemp("notebook"), read(FROM_TITLES)
    notebook.cells.append(new_code_cell(LOOK))
    own = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    own |= {name: str(folder / ".jupyter") for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in own.items():
            patch.setenv(name, value)
        run(notebook, folder)
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_the_service_answers_as_the_notebook_does(found):
    assert found["served"] == found["in_process"] and len(found["served"]) == 10
    assert found["model"] == "modit-outdoor" and not set(found["served"]) & set(map(str, found["seeds"]))


def test_the_service_is_stopped_at_the_end(found):
    assert found["exit"] is not None


def test_more_answers_have_the_attribute_and_the_kind_than_those_of_the_average(found):
    average, model = found["compared"]["average of the seeds"], found["compared"]["modit"]
    assert model["both"] > average["both"] + 0.1, found["compared"]
    assert [each["split"] for each in found["results"]] == ["item_holdout", "pattern_holdout"]
    assert all(each["hppo_reranked"] > each["average"] + 0.1 for each in found["results"]), found["results"]
    assert found["status"] == ["PASS"]
