import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from modit.export.parity import ParityError, list_parity, parity_report, tensor_parity
from modit.export.sampler import export_sampler
from modit.export.translations import translate
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import OPSET
from modit.model.sampler import Sampler, sort_seeds
from tests.unit.samplers import DIMENSION, SEEDS, describe


@pytest.fixture(scope="module")
def catalogue():
    vectors = np.random.default_rng(1).normal(size=(400, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def index(catalogue):
    return ItemIndex.build(catalogue, np.arange(len(catalogue)).astype(str), IndexParams(kind="flat"))


@pytest.fixture(scope="module")
def cases():
    rows = np.random.default_rng(2).integers(0, 400, (30, 6)).astype(np.int32)
    rows[::3, 4:] = -1
    return {"item_holdout": rows, "pattern_holdout": np.empty((0, 6), np.int32)}


@pytest.fixture
def other_sampler(sampler):
    other = copy.deepcopy(sampler)
    with torch.no_grad():
        other.model.readout.gate.weight.add_(0.3)
    return other


def test_file_answers_as_torch_for_all_sizes_and_orders(sampler, exported):
    table = tensor_parity(sampler, exported, seed=0)
    assert {(row.batch, row.seeds, row.guidance) for row in table} == {
        (batch, seeds, scale) for batch in (1, 2, 5, 33) for seeds in (1, 3, SEEDS) for scale in (1.0, 3.0)
    }
    assert max(row.difference for row in table) < 1e-4
    assert max(row.shuffled_difference for row in table) < 1e-4


class _Sort(torch.nn.Module):
    def forward(self, seeds, mask):
        return sort_seeds(seeds, mask, torch.zeros(DIMENSION))


def test_where_all_seeds_tie_in_density_the_file_answers_as_torch_and_any_order_gives_the_same(
    sampler, sampler_parts, tmp_path
):
    """Equal queries, not near ones: the graph sorts the seeds by their content before anything else reads them."""
    tied = sampler.geometry._replace(density=torch.zeros(DIMENSION))
    other = Sampler(sampler.model, tied, sampler.steps, sampler.samples).eval()
    export_sampler(other, sampler_parts, describe(), tmp_path / "sampler.onnx")
    table = tensor_parity(other, load_sampler(tmp_path / "sampler.onnx", threads=1), seed=0)
    assert max(row.difference for row in table) < 1e-4
    assert max(row.shuffled_difference for row in table) < 1e-6


def test_seeds_of_equal_density_have_the_same_order_in_the_graph():
    seeds, mask = torch.randn(3, 9, DIMENSION), torch.rand(3, 9) < 0.7
    graph = translate(_Sort(), (seeds, mask), ({}, {}))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = dict(zip((value.name for value in session.get_inputs()), (seeds.numpy(), mask.numpy()), strict=True))
    for found, expected in zip(session.run(None, feed), _Sort()(seeds, mask), strict=True):
        np.testing.assert_array_equal(found, expected.numpy())


def test_another_model_fails_and_the_error_names_the_case_and_the_difference(other_sampler, exported):
    with pytest.raises(ParityError, match=r"drama: batch 1, 1 seeds, guidance 1.0: differs from torch by 0\.\d"):
        tensor_parity(other_sampler, exported, seed=0)


def test_lists_of_real_cases_are_equal_and_empty_splits_are_left_out(sampler, exported, index, catalogue, cases):
    (row,) = list_parity(sampler, exported, index, catalogue, cases, k=10, seed=0)
    assert (row.split, row.cases, row.identical, row.overlap) == ("item_holdout", 30, 1.0, 1.0)


def test_lists_of_another_model_fail_by_split(other_sampler, exported, index, catalogue, cases):
    with pytest.raises(ParityError, match="domain drama, item_holdout: 0.* of 30 lists are equal"):
        list_parity(other_sampler, exported, index, catalogue, cases, k=10, seed=0)


def test_report_holds_both_tables(sampler, exported, index, catalogue, cases):
    tensors = tensor_parity(sampler, exported, seed=0)
    report = parity_report(tensors, list_parity(sampler, exported, index, catalogue, cases, k=10, seed=0))
    assert report["status"] == "passed"
    assert report["greatest_difference"] == max(row["difference"] for row in report["tensors"])
    assert report["lists"][0]["k"] == 10
