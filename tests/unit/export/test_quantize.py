"""A file of 8 bits is the same sampler: same contract, same bytes twice, and a row that no other row changes."""

import numpy as np
import onnx
import pytest

from modit.core.errors import ArtifactError, ContractError
from modit.export.quantize import ordering_nodes, quantize_sampler
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import INT8
from tests.unit.samplers import describe


@pytest.fixture(scope="module")
def int8_file(sampler_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "sampler.int8.onnx"
    quantize_sampler(sampler_file, path)
    return path


@pytest.fixture(scope="module")
def int8(int8_file):
    return load_sampler(int8_file, threads=1)


def test_the_same_file_gives_the_same_bytes_and_names_no_place(sampler_file, int8_file, tmp_path):
    quantize_sampler(sampler_file, tmp_path / "again.onnx")
    content = int8_file.read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["again.onnx"]
    assert not any(trace in content for trace in (b".py", b"site-packages", str(int8_file.parent).encode()))


def test_it_says_what_it_is_and_takes_and_gives_the_same(sampler_file, int8_file, int8):
    assert int8.info == describe(precision=INT8)
    whole, small = onnx.load(sampler_file).graph, onnx.load(int8_file).graph
    assert (small.input, small.output) == (whole.input, whole.output)


def test_weights_of_products_have_8_bits_and_what_orders_the_seeds_is_left_alone(sampler_file, int8_file):
    whole, small = onnx.load(sampler_file).graph, onnx.load(int8_file).graph
    ordering = ordering_nodes(whole)
    kept = {node.name: node for node in small.node}
    before = {node.name: node for node in whole.node}
    assert "MatMul" in {before[name].op_type for name in ordering}
    assert all(kept[name].op_type == before[name].op_type for name in ordering)
    assert ordering_nodes(small) == ordering
    weights = [value for value in small.initializer if value.data_type == onnx.TensorProto.INT8]
    assert weights and sum(node.op_type == "MatMulInteger" for node in small.node) >= len(weights)


def test_it_writes_nearly_the_query_of_float32(exported, int8, inputs):
    queries = int8.queries(*inputs)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    cosines = (queries * exported.queries(*inputs)).sum(1)
    assert (cosines > 0.99).all() and (cosines < 1 - 1e-7).any()


def test_a_row_is_the_same_bits_alone_beside_others_padded_and_in_any_order_of_seeds(int8, inputs):
    seeds, mask, noise = inputs[0].copy(), inputs[1].copy(), inputs[2]
    mask[0, 3:] = mask[2, :2] = False
    seeds[~mask] = 1e6  # what is not valid is not read
    together = int8.queries(seeds, mask, noise)
    for row in range(len(seeds)):
        valid = seeds[row, mask[row]][None]
        alone = int8.queries(valid, np.ones(valid.shape[:2], bool), noise[row : row + 1])
        np.testing.assert_array_equal(together[row], alone[0])
    np.testing.assert_array_equal(int8.queries(seeds[:, ::-1], mask[:, ::-1], noise), together)


def test_it_refuses_what_float32_refuses(int8, inputs):
    seeds, mask, noise = inputs
    with pytest.raises(ContractError, match="rows of mask have no seed"):
        int8.queries(seeds, np.zeros_like(mask), noise)


def test_a_file_that_is_rounded_already_is_refused(int8_file, tmp_path):
    with pytest.raises(ArtifactError, match="precision is int8; allowed: float32"):
        quantize_sampler(int8_file, tmp_path / "twice.onnx")


def test_a_file_of_before_there_were_precisions_is_float32(sampler_file, tmp_path):
    model = onnx.load(sampler_file)
    facts = {entry.key: entry.value for entry in model.metadata_props if entry.key != "modit.precision"}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, tmp_path / "old.onnx")
    assert load_sampler(tmp_path / "old.onnx", threads=1).info == describe()
