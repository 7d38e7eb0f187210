"""The step `validate_logs` hands over the catalogue and what was set aside."""

import importlib.util
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.validate_logs import STEP
from modit.core.errors import ContractError
from modit.core.params import WindowParams
from modit.data.catalog import Catalog
from modit.data.params import ValidationParams

RUN = Path(__file__).parents[3] / "components" / "validate_logs" / "run.py"


@pytest.fixture
def step():
    spec = importlib.util.spec_from_file_location("validate_logs_run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _context(source, tmp_path, **tolerance):
    outputs = {name: tmp_path / "outputs" / name for name in STEP.outputs}
    for folder in outputs.values():
        folder.mkdir(parents=True)
    return SimpleNamespace(
        step=STEP,
        params=SimpleNamespace(validate_logs=ValidationParams(**tolerance), window=WindowParams()),
        days=None,
        needs_domains=True,
        run_config=SimpleNamespace(new_domain=None),
        accepted_windows=list,
        keep_refused=lambda folder: str(folder),
        catalogue=lambda: source,
        scratch=tmp_path,
        output=outputs.__getitem__,
        logger=logging.getLogger("test"),
    )


def test_it_writes_the_catalogue_the_quarantine_and_the_report(step, tables, source, tmp_path):
    tables.set("interactions", "item_id", 3, "nobody")
    context = _context(tables.write(source), tmp_path)
    step.run(context)
    assert len(Catalog.load(context.output("catalog"))) == 12
    assert (context.output("quarantine") / "interactions.parquet").is_file()
    report = json.loads((context.output("quarantine") / "report.json").read_text())
    assert report["interactions"]["quarantined"] == {"unknown_item": 1}


def test_its_parameters_set_the_tolerance(step, tables, source, tmp_path):
    tables.set("interactions", "item_id", 3, "nobody")
    context = _context(tables.write(source), tmp_path, unknown_item_share_max=0.04)
    with pytest.raises(ContractError, match=r"allowed 4.00%"):
        step.run(context)
