"""The real steps of the pipeline `semantic_ids` on a small catalogue."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.cli import main
from modit.core.errors import ContractError, InsufficientDataError, SealedError
from modit.core.runner import StepRunner
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions, training_counts
from modit.evaluate.families.page import compare_families
from modit.evaluate.next_item.names import SASREC_BINARY, SASREC_FULL, SERVED
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.index.item_neighbours import NEIGHBOURS_FILE, ItemNeighbours
from modit.index.quantizer import QUANTIZER_FILE, Quantizer
from modit.inference.answers import load_answers
from modit.inference.next_item import load_next_item
from modit.inference.sessions import SessionQuery
from modit.semantic_ids.quantizers import popular_items
from modit.semantic_ids.retriever import MODEL_FILE, load_retriever

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
ITEMS = 600
# No verdict may pass: there are fewer cases.
TOO_FEW = {"gate_next_item.minimum_cases": 1_000}
PIPELINE = REGISTRY.of("semantic_ids")


def runner(run: Path, catalogue: Path, **overrides) -> StepRunner:
    conf = {"catalogue": str(catalogue), "preset": "tiny", "pipeline": "semantic_ids", "overrides": overrides}
    return StepRunner(REGISTRY, str(run), PARAMS, conf)


def all_steps(run: Path, catalogue: Path, until: str | None = None, **overrides) -> dict[str, Path]:
    """Runs the pipeline, or what an artifact of it is made from; the folder of each artifact."""
    steps, needed = runner(run, catalogue, **overrides), made_from(until) if until else None
    for step in PIPELINE.steps:
        if needed is None or step.name in needed:
            steps.execute(step.name)
    return {name: run / name for name in PIPELINE.writer}


def made_from(artifact: str) -> set[str]:
    """Names of the steps that an artifact is made by."""
    step = PIPELINE.writer[artifact]
    return {step.name}.union(*(made_from(name) for name in step.inputs if name in PIPELINE.writer))


def write_catalogue(folder: Path, change_last: bool = False, shorten: bool = False) -> Path:
    """600 items in 10 groups, and 300 sessions that stay in a group; `change_last`: their last two items are others."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 10, ITEMS)
    vectors = rng.standard_normal((10, 16))[group] + 0.4 * rng.standard_normal((ITEMS, 16))
    names = [f"item-{row}" for row in range(ITEMS)]
    verdicts = (rng.random(ITEMS) < 0.5).tolist()
    folder.mkdir(parents=True)
    table = {"item_id": names, "embedding": vectors.tolist(), "attr_good": verdicts}
    pq.write_table(pa.table(table), folder / "items.parquet")
    rows = []
    for session in range(300):
        items = rng.choice(np.flatnonzero(group == session % 10), rng.integers(3, 9), replace=False).tolist()
        if change_last:
            items[-2:] = [0, 1]
        rows += [(f"session-{session}", names[item], place) for place, item in enumerate(items[: 3 if shorten else 9])]
    columns = dict(zip(("sequence_id", "item_id", "position"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    return folder


def with_new_items(source: Path, folder: Path) -> Path:
    """The catalogue with three more items, which are in no session."""
    folder.mkdir()
    items = pq.read_table(source / "items.parquet").to_pylist()
    new = [
        items[row] | {"item_id": f"a-new-{row}", "embedding": [*items[row]["embedding"][:-1], 0.5]} for row in (0, 7, 9)
    ]
    pq.write_table(pa.Table.from_pylist([*new, *items]), folder / "items.parquet")
    shutil.copy(source / "interactions.parquet", folder)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return write_catalogue(tmp_path_factory.mktemp("semantic_ids") / "catalogue")


@pytest.fixture(scope="module")
def made(world) -> dict[str, Path]:
    return all_steps(world.parent / "a", world, **TOO_FEW)


def test_the_pipeline_needs_no_domain():
    assert [step.name for step in PIPELINE.steps if step.per_domain or step.decides_domains] == []


def test_every_item_has_an_id_and_a_session_gets_items(made):
    catalog = Catalog.load(made["catalog"])
    codes = ItemCodes.load(made["item_codes"] / CODES_FILE)
    assert len(codes) == len(catalog)
    sessions = Sessions(catalog.sequences)
    counts = training_counts(sessions.training, len(catalog))
    assert np.array_equal(codes.counts, counts)
    found = load_retriever(made["next_item_retriever"], made["item_codes"]).recommend([sessions.training[0]], 10)[0]
    assert len(set(found.rows.tolist())) == len(found.rows) == 10
    assert json.loads((made["next_item_retriever"] / "curve.json").read_text())[-1]["step"] == 20


def test_the_quantiser_of_the_artifact_gives_new_items_an_id_near_that_of_known_ones(made):
    catalog = Catalog.load(made["catalog"])
    codes = ItemCodes.load(made["item_codes"] / CODES_FILE)
    quantizer = Quantizer.load(made["item_codes"] / QUANTIZER_FILE)
    head = popular_items(codes.counts, 0.8)
    # Sessions have a part in the IDs of known items; the quantiser predicts it from the embedding.
    assert (quantizer.assign(catalog.embeddings, head)[:, 0] == codes.codes[:, 0]).mean() > 0.7
    new = catalog.embeddings[:2] + 0.01
    more = codes.extended(quantizer.assign(new), np.zeros(2))
    assert (more.trie.find(more.tokens[-2:]) >= 0).all()


def test_the_evaluation_has_every_row_on_the_last_items_and_a_page(made):
    content = json.loads((made["next_item_evaluation"] / "evaluation.json").read_text())
    assert content["task"] == "next_item"
    result = content["splits"]["test"]
    names = {"Popularity", "Item-kNN", "EASE", "SASRec, binary cross-entropy", "SASRec, full cross-entropy"}
    assert {row["name"] for row in result["rows"]} >= names | {
        "Semantic IDs",
        "Semantic IDs + RAD-DPO",
        "Semantic IDs + AdaGRPO",
        "Semantic IDs + neighbours",
        "SASRec, full cross-entropy, + neighbours",
    }
    assert result["cases"] == 300
    assert result["unconstrained"] is None  # within the trie no other ID is known
    assert "Next item: catalogue" in (made["next_item_evaluation"] / "report.html").read_text()


def assert_same_bytes(one: dict[str, Path], other: dict[str, Path]) -> None:
    for file in (CODES_FILE, QUANTIZER_FILE):
        assert (one["item_codes"] / file).read_bytes() == (other["item_codes"] / file).read_bytes(), file
    models = [(each["next_item_retriever"] / MODEL_FILE).read_bytes() for each in (one, other)]
    assert models[0] == models[1]


def test_one_seed_gives_the_same_bytes(made, world, tmp_path):
    again = all_steps(tmp_path / "b", world, "next_item_retriever_adagrpo", runner={"cross_run_cache": False})
    assert_same_bytes(made, again)
    for name in ("next_item_retriever_rad_dpo", "next_item_retriever_adagrpo"):
        assert (made[name] / MODEL_FILE).read_bytes() == (again[name] / MODEL_FILE).read_bytes()
        assert (made[name] / "rounds.json").read_bytes() == (again[name] / "rounds.json").read_bytes()


def test_validation_and_test_items_change_nothing_that_is_learned(made, tmp_path):
    catalogue = write_catalogue(tmp_path / "catalogue", change_last=True)
    changed = all_steps(tmp_path / "run", catalogue, "next_item_retriever")
    before, after = (Catalog.load(each["catalog"]).sequences.items for each in (made, changed))
    assert not np.array_equal(before, after)
    assert_same_bytes(made, changed)


def test_a_catalogue_of_short_sessions_is_refused(tmp_path):
    steps = runner(tmp_path / "run", write_catalogue(tmp_path / "catalogue", shorten=True))
    for name in ("validate_logs", "fetch_starting_point", "tokenize_items"):
        steps.execute(name)
    with pytest.raises(InsufficientDataError, match="needs sessions of 4 items and more"):
        steps.execute("train_retriever")


def test_few_sessions_take_fewer_steps_of_sasrec(world, tmp_path):
    few = {"train_sasrec.steps": 500, "train_sasrec.passes": 2}
    made = all_steps(tmp_path / "run", world, "sasrec", **few)
    sessions = len(Sessions(Catalog.load(made["catalog"]).sequences).training)
    for loss in ("binary", "full"):
        last = json.loads((made["sasrec"] / loss / "curve.json").read_text())[-1]["step"]
        assert 0.5 * sessions / 16 < last <= -(-2 * sessions // 16) < 500  # those of one item are not trained on


def test_each_stage_of_alignment_writes_a_retriever_and_says_which_round_it_kept(made):
    for name in ("next_item_retriever_rad_dpo", "next_item_retriever_adagrpo"):
        rounds = json.loads((made[name] / "rounds.json").read_text())
        recalls = [rounds["recall_before"], *(each["recall"] for each in rounds["rounds"])]
        assert rounds["kept"] == recalls.index(max(recalls))
        found = load_retriever(made[name], made["item_codes"]).recommend([np.array([3, 4])], 10)[0]
        assert len(found.rows) == 10
    unchanged = (made["next_item_retriever"] / MODEL_FILE).read_bytes()
    rad_dpo = json.loads((made["next_item_retriever_rad_dpo"] / "rounds.json").read_text())
    assert (rad_dpo["kept"] == 0) == ((made["next_item_retriever_rad_dpo"] / MODEL_FILE).read_bytes() == unchanged)


def test_adagrpo_says_where_its_reward_model_is_wrong(made):
    diagnostics = json.loads((made["next_item_retriever_adagrpo"] / "diagnostics.json").read_text())
    assert sum(row["cases"] for row in diagnostics["auc_by_popularity"]) == 50
    for row in diagnostics["auc_by_popularity"]:
        assert 0 <= row["against_all"] <= 1 and 0 <= row["against_alike"] <= 1
    assert len(diagnostics["lift"]) == 4
    assert (made["next_item_retriever_adagrpo"] / "reward_ranker" / MODEL_FILE).exists()


def test_a_catalogue_with_texts_alone_is_taken_and_never_reaches_a_pipeline_with_domains(tmp_path):
    catalogue = tmp_path / "catalogue"
    catalogue.mkdir()
    titles = [f"{kind} number {number}" for kind in ("lipstick", "soap", "brush") for number in range(6)]
    pq.write_table(pa.table({"item_id": list(range(18)), "title": titles}), catalogue / "items.parquet")
    pairs = [(session, session * 4 + place, place) for session in range(4) for place in range(4)]
    columns = dict(zip(("sequence_id", "item_id", "position"), map(list, zip(*pairs, strict=True)), strict=True))
    pq.write_table(pa.table(columns), catalogue / "sequences.parquet")
    runner(tmp_path / "runs" / "a", catalogue).execute("validate_logs")
    catalog = Catalog.load(tmp_path / "runs" / "a" / "catalog")
    assert (len(catalog), catalog.domains, len(catalog.sequences)) == (18, [], 4)
    conf = {"catalogue": str(catalogue), "preset": "tiny", "pipeline": "retrain"}
    # the other run lies beside it, and the artifact of an equal key would be taken
    with pytest.raises(ContractError, match="attribute_present"):
        StepRunner(REGISTRY, str(tmp_path / "runs" / "b"), PARAMS, conf).execute("validate_logs")


def test_the_exported_retriever_answers_as_torch_and_as_the_answers_beside_it(made):
    catalog, exported = Catalog.load(made["catalog"]), load_next_item(made["exported_retriever"])
    exported.check_items(catalog.item_ids)
    rows = {item: row for row, item in enumerate(catalog.item_ids.tolist())}
    answers = load_answers(made["exported_retriever"])
    assert len(answers) == 32
    by_torch = load_retriever(made["next_item_retriever_adagrpo"], made["item_codes"])
    near = ItemNeighbours.load(made["item_neighbours"] / NEIGHBOURS_FILE)
    by_torch = replace(by_torch, neighbours=near if near.weight else None)
    sessions = [np.array([rows[item] for item in answer.seeds]) for answer in answers]
    found = exported.retrieve([SessionQuery(session, 10, session) for session in sessions])
    for answer, each in zip(answers, found, strict=True):
        assert answer.equals(catalog.item_ids[each.rows].tolist(), each.scores.tolist())
    for each, expected in zip(found, by_torch.recommend(sessions, 10, sessions), strict=True):
        assert np.array_equal(each.rows, expected.rows)
    parity = json.loads((made["exported_retriever"] / "parity.json").read_text())
    assert parity["status"] == "passed"
    assert parity["greatest_difference"] <= 1e-4


def test_new_items_of_the_exported_retriever_get_the_ids_of_their_embeddings(made):
    catalog, exported = Catalog.load(made["catalog"]), load_next_item(made["exported_retriever"])
    tail = np.flatnonzero(exported.codes.counts == 0)[:3]
    more = exported.with_items(catalog.embeddings[tail], ["new-1", "new-2", "new-3"])
    assert np.array_equal(more.codes.codes[-3:], exported.codes.codes[tail])


def test_the_pipeline_ends_with_a_verdict_and_a_version_that_is_promoted_as_any_other(made, world, tmp_path, capsys):
    run = made["next_item_verdict"].parent
    assert main(["verdict", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "no champion: absolute thresholds" in shown and "verdict: FAIL" in shown  # there are too few cases
    assert "Popularity " in shown and shown.count("Recall@10 0.") == 10 and "next_item: p50" in shown
    registered = json.loads((made["next_item_registration"] / "registration.json").read_text())["next_item"]
    assert (registered["model"], registered["status"], registered["alias"]) == ("modit-next_item", "rejected", None)
    order = [f"modit-next_item/{registered['version']}", "--run", str(run), "--by", "ann"]
    order += ["--verdict", registered["digests"]["verdict"]]
    assert main(["approve", *order]) == 1 and "not_passed" in capsys.readouterr().err
    assert main(["override", *order, "--reason", "to have a champion"]) == 0

    # The next night has new items, and trains nothing: it starts from the champion.
    nothing = {"train_retriever.steps": 0, "align_rad_dpo.rounds": 0, "align_adagrpo.rounds": 0}
    tonight = with_new_items(world, tmp_path / "catalogue")
    after = all_steps(run.parent / "after", tonight, **{"starting_point.origin": "champion"} | nothing)
    judged = json.loads((after["next_item_verdict"] / "verdict.json").read_text())["domains"]["next_item"]
    assert judged["basis"] == f"champion modit-next_item/{registered['version']}"
    held = {each["name"]: each["holds"] for each in judged["keys"]["quality"]["findings"]}
    assert held["champion"] and held["items of the champion"]  # it is the same retriever
    ids = [Catalog.load(each["catalog"]).item_ids.tolist() for each in (made, after)]
    codes = [ItemCodes.load(each["item_codes"] / CODES_FILE).codes for each in (made, after)]
    assert all(np.array_equal(codes[0][row], codes[1][ids[1].index(name)]) for row, name in enumerate(ids[0]))
    new = [row for row, name in enumerate(ids[1]) if name not in ids[0]]
    (found,) = load_next_item(after["exported_retriever"]).retrieve([SessionQuery(np.array(new[:1]), len(ids[1]))])
    assert len(new) == 3 and set(new) <= set(found.rows.tolist())
    version = json.loads((after["next_item_registration"] / "registration.json").read_text())["next_item"]
    order = [f"modit-next_item/{version['version']}", "--run", str(run), "--by", "ann"]
    assert main(["override", *order, "--verdict", version["digests"]["verdict"], "--reason", "newer"]) == 0
    assert main(["rollback", "next_item", "--run", str(run), "--by", "ann", "--reason", "it was better"]) == 0
    assert f"the champion is version {registered['version']}" in capsys.readouterr().out
    with pytest.raises(SealedError):
        runner(run, world, **TOO_FEW).execute("gate_next_item", force=True)


def test_a_domain_may_not_be_called_as_retrievers_of_the_next_item_are(world, tmp_path):
    table = pq.read_table(world / "items.parquet")
    (tmp_path / "in").mkdir()
    for name in ("attr_next_item", "attr_Next Item"):
        columns = table.rename_columns([*table.column_names[:-1], name])
        pq.write_table(columns, tmp_path / "in" / "items.parquet")
        with pytest.raises(ContractError, match="'next_item' is what retrievers of the next item are called"):
            runner(tmp_path / name, tmp_path / "in").execute("validate_logs")


def test_beside_other_families_its_exported_files_get_the_figures_of_its_own_evaluation(made, tmp_path):
    run = str(made["catalog"].parent)
    content = json.loads(compare_families([run], tmp_path, cases=0)[1].read_text())
    (family,) = content["families"]
    known = ("p50_ms", "p99_ms", "peak_mb", "files_mb", "training_seconds", "parameters")
    assert all(family[name]["value"] > 0 for name in known)
    own = json.loads((made["next_item_evaluation"] / "evaluation.json").read_text())["splits"]["test"]
    judged, rows = (
        {row["name"]: row for row in each["rows"]} for each in (own, content["next_item"]["splits"]["test"])
    )
    pairs = {"Semantic IDs": SERVED} | {name: name for name in rows if name != "Semantic IDs"}
    assert set(pairs) == {"Semantic IDs", "Popularity", "Item-kNN", "EASE", SASREC_BINARY, SASREC_FULL}
    for name, other in pairs.items():
        for figure in ("recall_at_10", "ndcg_at_10"):
            assert rows[name][figure] == pytest.approx(judged[other][figure], abs=1e-6), name
    for entry, figure in zip(family["quality"], ("recall_at_10", "ndcg_at_10"), strict=True):
        assert entry["mean"] == judged[SERVED][figure]
