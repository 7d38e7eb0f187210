"""The exported retriever of the next item: it decodes as torch, takes new items, and says what is wrong with files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from modit.core.errors import ArtifactError, ContractError
from modit.data.vectors import unit
from modit.export.next_item import export_decoder, search_parity
from modit.export.parity import ParityError
from modit.index.item_codes import CODES_FILE, ItemCodes, order_of_ties
from modit.index.quantizer import QUANTIZER_FILE, Quantizer
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.next_item import load_next_item, open_network
from modit.inference.next_item_files import DENSE_FILES, ENCODE_FILE, FILES, RETRIEVER_FILE, STEP_FILE, NextItemInfo
from modit.inference.sessions import SessionQuery
from modit.semantic_ids.decoder import Decoder, DecoderConfig
from modit.semantic_ids.params import TokenizerParams
from modit.semantic_ids.retriever import torch_retriever
from modit.semantic_ids.tokenizer import tokenize
from tests.unit.serve.session_bundles import save_no_neighbours

ITEMS, DIMENSION = 80, 8
IDS = np.array([f"item-{row}" for row in range(ITEMS)])
NOTHING = np.zeros(0, np.int64)


def vectors(seed: int, count: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, DIMENSION))).astype(np.float32)


def tokenized(sizes=(4, 6, 4)) -> tuple[Quantizer, ItemCodes]:
    counts = np.random.default_rng(1).integers(0, 9, ITEMS)
    params = TokenizerParams(method="sa2crq", sizes=sizes, items_per_prefix=3)
    return tokenize(vectors(0, ITEMS), counts, order_of_ties(IDS), params, 0)


def decoder(codes: ItemCodes, seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(
        codes.vocabulary,
        width=16,
        depth=1,
        heads=2,
        dropout=0.0,
        session_items=5,
        items=len(codes),
        within_trie=True,
        node_vectors=True,
        content=DIMENSION,
        dense=True,
    )
    model = Decoder(config, codes.trie).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)  # so that probabilities differ
        model.node_vectors.normal_(std=0.5)
        model.item_vectors.normal_(std=0.5)
        model.node_vectors[: int(codes.trie.first_child[1])] = 0
    return model


@pytest.fixture(scope="module")
def codes() -> ItemCodes:
    return tokenized()[1]


@pytest.fixture(scope="module")
def model(codes) -> Decoder:
    return decoder(codes)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, codes, model):
    folder = tmp_path_factory.mktemp("exported")
    export_decoder(model, folder)
    tokenized()[0].save(folder / QUANTIZER_FILE)
    codes.save(folder / CODES_FILE)
    save_no_neighbours(folder, ITEMS)
    (folder / PARITY_FILE).write_text('{"status": "passed"}')
    config = model.config
    NextItemInfo(
        vocabulary=config.vocabulary,
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        session_items=config.session_items,
        items=ITEMS,
        item_tokens=config.items,
        within_trie=config.within_trie,
        dimension=DIMENSION,
        beams=6,
        k=10,
        item_ids_digest=item_ids_digest(IDS),
        model_digest="0" * 64,
    ).save(folder)
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    """A copy to damage."""
    return shutil.copytree(exported, tmp_path / "copy")


@pytest.fixture(scope="module")
def retriever(exported):
    return load_next_item(exported)


def sessions() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, ITEMS, length) for length in (1, 2, 3, 7, 12) * 8] + [NOTHING]


def test_the_files_decode_the_ids_of_torch_in_batches_of_any_size(model, codes, exported):
    by_torch = torch_retriever(model, codes, beams=6)
    by_file = replace(by_torch, network=open_network(exported, NextItemInfo.load(exported)))
    report = search_parity(by_torch, by_file, sessions())
    assert report["status"] == "passed"
    assert report["greatest_difference"] < 1e-4
    assert {(row["constrained"], row["batch"]) for row in report["searches"]} == {(True, batch) for batch in (1, 2, 33)}


def test_files_of_other_weights_are_refused(model, codes, exported):
    by_file = torch_retriever(model, codes, beams=6)
    by_file = replace(by_file, network=open_network(exported, NextItemInfo.load(exported)))
    near = decoder(codes)
    with torch.no_grad():
        near.bias[3] += 0.01
    for other in (near, decoder(codes, seed=1)):
        with pytest.raises(ParityError, match="batches of 1, within the trie: "):
            search_parity(torch_retriever(other, codes, beams=6), by_file, sessions())


def test_answers_are_those_of_torch_with_limits_and_each_is_that_of_its_request_alone(model, codes, retriever):
    by_torch, allowed = torch_retriever(model, codes, beams=6), np.arange(ITEMS) % 3 > 0
    requests = [SessionQuery(rows, 3 + number % 3, rows) for number, rows in enumerate(sessions())]
    requests += [SessionQuery(rows, 40, rows, allowed) for rows in sessions()[:5]]
    for request, found in zip(requests, retriever.retrieve(requests), strict=True):
        (alone,) = retriever.retrieve([request])
        (expected,) = by_torch.recommend([request.history], request.k, [request.exclude], [request.allowed])
        assert found.rows.tolist() == alone.rows.tolist() == expected.rows.tolist()
        assert np.allclose(found.scores, expected.scores, atol=1e-4)
        assert len(found.rows) == request.k
        assert not np.isin(found.rows, request.exclude).any()
        assert request.allowed is None or allowed[found.rows].all()
    assert retriever.retrieve([]) == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SessionQuery(np.array([3, ITEMS]), 5), f"history has row {ITEMS}; allowed: 0 to {ITEMS - 1}"),
        (SessionQuery(np.array([3]), 5, np.array([-1])), f"exclude has row -1; allowed: 0 to {ITEMS - 1}"),
        (SessionQuery(np.array([3]), 0), "k is 0; allowed: at least 1"),
        (SessionQuery(NOTHING, 5, NOTHING, np.ones(3, bool)), r"allowed is bool \(3,\); allowed: bool \(80,\)"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(retriever, request_, message):
    with pytest.raises(ContractError, match=message):
        retriever.retrieve([request_])


def test_new_items_are_in_sessions_and_lists_at_once_and_known_ones_keep_their_ids(retriever):
    twin = vectors(0, ITEMS)[int(np.flatnonzero(retriever.codes.counts < 1)[0])]
    new = np.concatenate([twin[None], vectors(5, 3)])
    more = retriever.with_items(new, [f"new-{number}" for number in range(4)])
    assert np.array_equal(more.codes.codes[:ITEMS], retriever.codes.codes)
    assert np.array_equal(more.codes.codes[ITEMS:], retriever.quantizer.assign(new))
    rows = np.arange(ITEMS, ITEMS + 4)
    (found,) = more.retrieve([SessionQuery(rows, ITEMS + 4)])
    assert set(found.rows.tolist()) == set(range(ITEMS + 4))
    only_new = np.arange(ITEMS + 4) >= ITEMS
    assert set(more.retrieve([SessionQuery(NOTHING, 10, NOTHING, only_new)])[0].rows.tolist()) == set(rows.tolist())
    assert len(retriever.codes) == ITEMS
    assert retriever.with_items(np.zeros((0, DIMENSION)), []) is retriever


def test_a_new_item_has_the_dense_score_of_its_embedding_and_the_bias_of_the_least_used(retriever, model):
    new, content = vectors(5, 3), model.items.content.detach().numpy()
    added = retriever.with_items(new, ["a", "b", "c"]).ids.dense_vectors[ITEMS:]
    assert np.allclose(added[:, :-1], new @ content.T, atol=1e-6)
    counts, biases = retriever.codes.counts, model.items.bias.detach().numpy()
    assert np.allclose(added[:, -1], biases[counts == counts[counts > 0].min()].mean(), atol=1e-6)


def test_an_export_of_before_there_were_dense_scores_ranks_by_ids_alone(folder, model, codes):
    content = json.loads((folder / RETRIEVER_FILE).read_text())
    content["files"] = {name: content["files"][name] for name in FILES}
    for name in DENSE_FILES:
        (folder / name).unlink()
    (folder / RETRIEVER_FILE).write_text(json.dumps(content))
    by_ids = replace(torch_retriever(model, codes, beams=6), dense_vectors=None)
    old = load_next_item(folder).with_items(np.ones((1, DIMENSION)), ["new"])
    for rows in sessions()[:8]:
        (found,) = old.retrieve([SessionQuery(rows, 5, rows)])
        assert found.rows.tolist() == by_ids.recommend([rows], 5, [rows])[0].rows.tolist()


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.ones((1, DIMENSION + 1)), r"shape \(1, 9\); allowed: \(1, 8\)"),
        (np.ones((2, DIMENSION)), r"shape \(2, 8\); allowed: \(1, 8\)"),
        (np.full((1, DIMENSION), np.nan), "that of item 'new' is not finite"),
    ],
)
def test_embeddings_that_are_none_of_the_catalogue_are_refused(retriever, embeddings, message):
    with pytest.raises(ContractError, match=message):
        retriever.with_items(embeddings, ["new"])


def test_the_items_of_another_catalogue_are_refused(retriever):
    retriever.check_items(IDS)
    with pytest.raises(ArtifactError, match="field item_ids_digest .*allowed: the catalogue of the export"):
        retriever.check_items(IDS[::-1])


def test_it_is_loaded_and_answers_without_torch(exported):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from modit.inference.next_item import load_next_item\n"
        "from modit.inference.sessions import SessionQuery\n"
        f"retriever = load_next_item(Path({str(exported)!r})).with_items(np.ones((1, {DIMENSION})), ['new'])\n"
        f"assert len(retriever.retrieve([SessionQuery(np.array([{ITEMS}]), 5)])[0].rows) == 5\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [*FILES, *DENSE_FILES, RETRIEVER_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_next_item(folder)


@pytest.mark.parametrize("name", [*FILES, *DENSE_FILES])
def test_a_file_that_was_changed_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name}: its sha256 is .*; allowed: "):
        load_next_item(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "modit-sampler/1"}, "field format is 'modit-sampler/1'; allowed: 'modit-next-item/1'"),
        ({"beams": 0}, "field beams is 0; allowed: a whole number of at least 1"),
        ({"items": "80"}, "field items is '80'; allowed: a whole number of at least 1"),
        ({"heads": 3}, "field width is 16; allowed: a multiple of 2 \\* heads, 6"),
        ({"heads": 4}, "encode.onnx: prompt has shape .*; allowed: "),
        ({"items": 79}, "item_codes.npz has 80 items; allowed: 79"),
        ({"vocabulary": 9}, "item_codes.npz has .* tokens; allowed: 9"),
        ({"dimension": 7}, "quantizer.npz takes embeddings of 8 numbers; allowed: 7"),
        ({"files": {}}, "field files is {}; allowed: a sha256 for each of encode.onnx"),
        ({"k": None}, "field k is None; allowed: a whole number"),
    ],
)
def test_a_field_of_the_facts_that_cannot_be_is_named(folder, change, message):
    path = folder / RETRIEVER_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=message):
        load_next_item(folder)


def test_facts_that_lack_a_field_or_are_no_json_are_refused(folder):
    path = folder / RETRIEVER_FILE
    content = json.loads(path.read_text())
    del content["beams"]
    for text, message in (
        (json.dumps(content), "field beams is missing"),
        ("{", "retriever.json is damaged: "),
        ("[]", "it holds a list"),
    ):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            load_next_item(folder)


def swapped(folder) -> None:
    shutil.copyfile(folder / ENCODE_FILE, folder / STEP_FILE)


def not_onnx(folder) -> None:
    (folder / STEP_FILE).write_bytes(b"no graph")


def other_quantizer(folder) -> None:
    tokenized((5, 6, 4))[0].save(folder / QUANTIZER_FILE)


def no_codebooks(folder) -> None:
    with np.load(folder / QUANTIZER_FILE) as stored:
        left = {name: stored[name] for name in stored.files if name != "codebook_0"}
    np.savez(folder / QUANTIZER_FILE, **left)


def failed(folder) -> None:
    (folder / PARITY_FILE).write_text('{"status": "failed"}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swapped, "step.onnx: metadata field modit.part is 'encode.onnx'; allowed: 'step.onnx'"),
        (not_onnx, "step.onnx: not a readable ONNX file"),
        (other_quantizer, r"quantizer.npz has codebooks of \(.*\); allowed: \("),
        (no_codebooks, "quantizer.npz: field .*codebook_0.* is missing"),
        (failed, "parity.json: field status is 'failed'; allowed: 'passed'"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_though_their_digests_are_right(folder, change, message):
    info = NextItemInfo.load(folder)
    change(folder)
    info.save(folder)
    with pytest.raises(ArtifactError, match=message):
        load_next_item(folder)
