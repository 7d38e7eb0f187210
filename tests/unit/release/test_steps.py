"""The four steps on hand-made artifacts: what they write, and that writing again gives the same bytes."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from components.bundle.run import run as bundle
from components.export_sampler import MODEL
from components.export_sampler.run import run as export_sampler
from components.gate.run import run as gate
from components.register import DOMAIN_STAGES, SHARED_STAGES
from components.register import STEP as REGISTER
from components.register.run import run as register
from modit.core.artifacts import Manifest, digest_of_files, list_files
from modit.core.run_config import RunConfig
from modit.core.step import ALL_BUCKETS
from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog, Sequences
from modit.export.sampler_parts import SamplerParts
from modit.features.parity import write_parity
from modit.features.store import service_name
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.answers import load_answers
from modit.metric.cases import Cases
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import DomainGeometry
from modit.metric.second_stage import SecondStage
from modit.model.readout import Move, readout_json
from modit.params import Params
from modit.release.bundle.bundle import Bundle
from modit.release.kinds import OF_SEEDS
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.registry_access import tracking_uri
from modit.release.versioning.code_state import CodeState
from modit.release.versioning.snapshot import save_versions, versions_record
from modit.release.versioning.version_store import DatasetVersion
from modit.training.checkpoint import save_model
from tests.unit.conftest import draw_geometry
from tests.unit.release.gateworld import FIRST, evidence
from tests.unit.samplers import DIMENSION, build_sampler
from tests.unit.serve.bundles import OF_DOMAIN


class Context(SimpleNamespace):
    left_out: dict = {}  # noqa: RUF012

    def input(self, name):
        return self.root / name

    def inputs_by_domain(self, name):
        return {"drama": self.root / name}

    def lineage(self):
        """Of what the bundle names, as if each step had just run."""
        inputs = {name: self.manifest(name, {}).digest for name in ("catalog", "index")}
        return [self.manifest(name, inputs) for name in (*OF_SEEDS.parts, "features") if (self.root / name).is_dir()]

    def manifest(self, name, inputs):
        files = list_files(self.root / name)
        domain = "drama" if name in OF_DOMAIN else None
        parts = {"params": {"gate": {"minimum_cases": 50}}, "code": {}, "inputs": inputs}
        return Manifest(name, domain, files, digest_of_files(files), {}, "gate", "key", parts)

    def held_back(self):
        return None

    def output(self, name):
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs") / "run"
    root.mkdir()
    for name in (
        "catalog",
        "index",
        "cases",
        "predictor",
        MODEL,
        "readout",
        "sampler_parts",
        "second_stage",
        "report",
        "versions",
        "scratch",
    ):
        (root / name).mkdir()
    generator = np.random.default_rng(5)
    vectors = generator.normal(size=(200, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, none = np.arange(200).astype(str), np.empty(0, np.int32)
    Catalog(ids, vectors, {"drama": np.ones(200, np.int8)}, None, Sequences(np.zeros(1, np.int64), none)).save(
        root / "catalog"
    )
    ItemIndex.build(vectors, ids, IndexParams(kind="flat")).save(root / "index")
    for split in ("item_holdout", "pattern_holdout"):
        seeds = generator.integers(0, 200, (10, 6)).astype(np.int32)
        Cases(seeds, seeds[:, :2], np.zeros(10, np.int32)).save(root / "cases" / f"{split}.npz")
    DomainGeometry(*(part.numpy() for part in draw_geometry(DIMENSION, 6))).save(root / "predictor/geometry.npz")
    model = build_sampler(depth=1).model
    save_model(root / MODEL / "model.pt", model)
    SamplerParts.translate(model.config, 2, 2, 6).save(root / "sampler_parts")
    rounds = [
        {"round": 0, "kept": True, "joint": 0.3, "guidance": 1.0},
        {"round": 1, "kept": True, "joint": 0.4, "guidance": 1.5},
        {"round": 2, "kept": False, "joint": 0.5, "guidance": 3.0},
    ]
    for name in (*SHARED_STAGES, *DOMAIN_STAGES):
        (root / name).mkdir(exist_ok=True)
        (root / name / "curve.json").write_text(json.dumps([{"step": 1, "loss": 0.5}]))
    (root / "hppo_variants" / "adaptive").mkdir(parents=True)
    (root / "hppo_variants" / "variants.json").write_text(json.dumps({"hppo": "pareto", "names": ["adaptive"]}))
    (root / "hppo_variants" / "adaptive" / "curve.json").write_text(json.dumps([{"step": 1, "loss": 0.5}]))
    readout = readout_json(0.5, [Move("mean", "density", 0.6), Move("best", "both", 0.3)], [0.7, 0.3])
    (root / "readout" / "readout.json").write_text(json.dumps(readout))
    (root / MODEL / "rounds.json").write_text(json.dumps({"rounds": rounds, "stopped": True}))
    nothing = KnownVerdicts(np.zeros((200, DIMENSION), np.float32), np.zeros(200, bool), np.zeros(200, bool))
    patterns = KnownPatterns.of(nothing, np.zeros(200, np.int32))
    stage = SecondStage(np.zeros(200, np.float32), patterns, 3, 0.05, 15.0, True, {"kind": "trees"})
    stage.save(root / "second_stage")
    (root / "features").mkdir()
    for bucket in ALL_BUCKETS:
        write_parity(root / "features", bucket, sha256_of_file(root / "catalog" / "embeddings.npy"), [])
    (root / "report/report.html").write_text("<html>")
    version = DatasetVersion("raw/0123456789abcdef", "ab.dir", 2, 10)
    save_versions(root / "versions", versions_record({"raw": version}, CodeState("1" * 40, False)))
    params = Params.model_validate({"sampler": {"steps": 2, "samples": 2}, "build_trajectories": {"seeds": 6}})
    logger = logging.getLogger("test")
    return Context(
        root=root,
        params=params,
        seed=0,
        domain="drama",
        logger=logger,
        step=REGISTER,
        run_uri=str(root),
        days=None,
        run_config=RunConfig(catalogue="/somewhere/books", overrides={"gate.noise_floor": 0.01}),
        scratch=root / "scratch",
    )


def write_what_the_gate_reads(root, facts):
    """As `evaluate`, `render_report`, `fetch_champion` and `check_servability` would, of this sampler."""
    found = evidence()
    judged = {"candidate": facts["model_digest"], "candidate_readout": facts["readout_digest"]}
    content = found.measured | judged | {"catalog": {"index_digest": facts["index_digest"]}}
    run = {"skipped_domains": {"western": "too few"}, "catalogue": "books", "preset": "tiny", "seed": 0}
    report = {"run": run, "domains": {"drama": content}}
    digests = {name: facts[name] for name in ("sampler_digest", "index_digest")}
    trial = found.servability | digests
    for name in ("evaluation", "champion", "servability"):
        (root / name).mkdir()
    FIRST.save(root / "champion")
    (root / "report/report.json").write_text(json.dumps(report))
    (root / "evaluation/evaluation.json").write_text(json.dumps(content))
    (root / "servability/servability.json").write_text(json.dumps(trial))


def test_the_four_steps_export_judge_bind_and_register(context, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    export_sampler(context)
    facts = json.loads((context.root / "sampler/sampler.json").read_text())
    assert (facts["domain"], facts["steps"], facts["samples"], facts["maximum_seeds"]) == ("drama", 2, 2, 6)
    assert facts["guidance"] == 1.5  # of the best round that was kept
    parity = json.loads((context.root / "sampler/parity.json").read_text())
    assert [row["split"] for row in parity["lists"]] == ["item_holdout", "pattern_holdout"]
    assert len(load_answers(context.root / "sampler")) == 20

    write_what_the_gate_reads(context.root, facts)
    assert gate(context) == {"status": "PASS"}
    verdict = json.loads((context.root / "verdict/verdict.json").read_text())
    assert verdict["overridden"] == {"gate.noise_floor": 0.01}
    assert verdict["versions"]["datasets"]["raw"]["md5"] == "ab.dir"
    metrics = json.loads((context.root / "verdict/metrics.json").read_text())
    assert metrics == {"drama": verdict["domains"]["drama"]["figures"], "western": {}, "status": "PASS"}
    text = (context.root / "verdict/verdict.txt").read_text()
    assert text.startswith("drama    PASS     no champion") and text.endswith("verdict: PASS\n")
    assert "\nwestern  SKIPPED  the domain was not trained: too few\n" in text

    assert bundle(context)["status"] == "PASS"
    bound = Bundle.load(context.root / "bundle")
    assert json.loads((context.root / "bundle/params.json").read_text()) == {"gate": {"minimum_cases": 50}}
    card = (context.root / "bundle/model_card.md").read_text()
    assert "# modit-drama" in card and bound.retriever == "sampler"
    assert "It is on unless a request turns it off" in card
    assert set(bound.parts["second_stage"].files) == {"log_odds.npy", "patterns.npz", "second_stage.json"}
    assert bound.parts["sampler"].files["sampler.onnx"] == facts["sampler_digest"]

    assert register(context) == {"drama": 1, "western": None}
    written = (context.root / "registration/registration.json").read_bytes()
    assert register(context) == {"drama": 1, "western": None}
    assert (context.root / "registration/registration.json").read_bytes() == written
    assert (context.root.parent / ".registry" / "mlflow.db").is_file()
    client = MlflowRegistry(tracking_uri(str(context.root))).client
    tags = client.get_model_version("modit-drama", "1").tags
    assert tags["feature_service"] == bound.feature_service["name"] == service_name("drama", str(context.root))
    assert (tags["bundle_digest"], tags["verdict_digest"]) == (bound.digest, bound.verdict_digest)
    assert (tags["data_versions"], tags["raw_version"]) == ("versioned", "ab.dir") and tags["code_commit"]
    record = MlflowRegistry(tracking_uri(str(context.root))).record("modit-drama", 1)
    assert record.run == str(context.root) and "bundle" not in [entry.kind for entry in record.artifacts]
    assert record.versions == verdict["versions"] and record.conf["catalogue"] == "/somewhere/books"
    experiment = client.get_experiment_by_name("modit").experiment_id
    runs = client.search_runs([experiment], "tags.stage != ''")
    found = sorted((run.data.tags["stage"], run.data.tags["domain"]) for run in runs)
    of_domain = [(name, "drama") for name in (*DOMAIN_STAGES, "hppo_adaptive")]
    assert found == sorted([(name, "all") for name in SHARED_STAGES] + of_domain)
    settings = {run.data.tags["stage"]: run.data.params for run in runs}
    assert (settings["hppo_1"]["variant"], settings["hppo_adaptive"]["variant"]) == ("pareto_epsilon", "adaptive")
