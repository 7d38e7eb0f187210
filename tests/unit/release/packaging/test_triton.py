"""A model repository of Triton: its configuration is what Triton reads, is of this file, and the request in it is
answered as the release answers.
"""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from modit.cli import main
from modit.inference.retrieval import Query, sampler_inputs
from modit.release.bundle.loading import Source
from modit.release.packaging.triton import write_triton_model
from tests.unit.samplers import DIMENSION

KINDS = {DataType.TYPE_FP32: ("tensor(float)", np.float32), DataType.TYPE_BOOL: ("tensor(bool)", np.bool_)}


class Repository:
    """A model as Triton would open it."""

    def __init__(self, folder, version):
        self.folder, self.config = folder, ModelConfig()
        text_format.Parse((folder / "config.pbtxt").read_text(), self.config)
        file = folder / str(version) / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    @staticmethod
    def passed_on(value, dims):
        """The dimensions that the model gets of a value with these, the batch in front."""
        return ["batch", *(value.reshape.shape if value.HasField("reshape") else dims)]

    def warmup(self):
        """The request that Triton warms up with: name -> array, read as it reads it."""
        (request,) = self.config.model_warmup
        declared = {value.name: value for value in self.config.input}
        feed = {}
        for name, value in request.inputs.items():
            content = (self.folder / "warmup" / value.input_data_file).read_bytes()
            array = np.frombuffer(content, KINDS[value.data_type][1])
            shape = self.passed_on(declared[name], value.dims)[1:]
            feed[name] = array.reshape(request.batch_size, *shape)
        return feed

    def queries(self, feed):
        return self.session.run([value.name for value in self.config.output], feed)[0]


@pytest.fixture
def packed(world, tmp_path):
    version = world.promoted()
    source = Source.of(world.registry.named_version(world.domain, "champion"))
    return world, version, Repository(write_triton_model(source, tmp_path / "models"), version)


def canary_of(world, version):
    return json.loads(world.file(version, "bundle/canaries.json").read_text())[0]


def test_names_types_and_dimensions_of_the_configuration_are_those_of_the_file(packed):
    _, _, model = packed
    for declared, found in (
        (model.config.input, model.session.get_inputs()),
        (model.config.output, model.session.get_outputs()),
    ):
        assert [value.name for value in declared] == [each.name for each in found]
        for value, each in zip(declared, found, strict=True):
            assert KINDS[value.data_type][0] == each.type
            sizes = [size if isinstance(size, int) else -1 for size in each.shape]
            assert [-1, *model.passed_on(value, value.dims)[1:]] == sizes


def test_the_configuration_serves_this_version_alone_batched_where_it_was_checked(packed):
    world, version, model = packed
    assert model.config.name == model.folder.name == f"modit-{world.domain}"
    assert list(model.config.version_policy.specific.versions) == [version]
    assert (model.config.backend, model.config.max_batch_size) == ("onnxruntime", 64)
    assert model.config.HasField("dynamic_batching")
    assert [group.kind for group in model.config.instance_group] == [ModelInstanceGroup.KIND_CPU]
    bundle = model.config.parameters["modit.bundle_digest"].string_value
    assert bundle == world.registry.version(world.domain, version).tags["bundle_digest"]


def test_the_request_to_warm_up_with_is_answered_with_the_query_of_the_canary(packed):
    world, version, model = packed
    feed = model.warmup()
    assert set(feed) == {value.name for value in model.config.input}
    np.testing.assert_allclose(model.queries(feed)[0], canary_of(world, version)["query"], atol=1e-6)


def test_requests_that_triton_joins_to_a_batch_are_answered_as_one_by_one(packed):
    world, _, model = packed
    info = world.serve().sampler.info
    vectors = np.random.default_rng(0).standard_normal((3, 4, DIMENSION)).astype(np.float32)
    alone = [sampler_inputs(info, [Query(seeds, k=1)])._asdict() for seeds in vectors]
    joined = {name: np.concatenate([each[name] for each in alone]) for name in alone[0]}
    np.testing.assert_allclose(model.queries(joined), [model.queries(each)[0] for each in alone], atol=1e-6)


def test_seeds_that_a_caller_pads_with_zeros_change_nothing(packed):
    _, _, model = packed
    feed = model.warmup()
    seeds, mask = np.pad(feed["seeds"], ((0, 0), (0, 3), (0, 0))), np.pad(feed["mask"], ((0, 0), (0, 3)))
    padded = model.queries(feed | {"seeds": seeds, "mask": mask})
    np.testing.assert_allclose(padded, model.queries(feed), atol=1e-6)


def test_the_verb_writes_what_log_and_alias_agree_on_and_a_later_version_beside_it(world, tmp_path, capsys):
    first, uri = world.promoted(), world.registry.client.tracking_uri
    order = ["triton", "--out", str(tmp_path / "models"), "--registry", uri, "--domains", world.domain]
    assert main(order) == 0
    second = world.promoted()
    assert main(order) == 0
    folder = tmp_path / "models" / f"modit-{world.domain}"
    assert {path.name for path in folder.iterdir()} == {str(first), str(second), "config.pbtxt", "warmup"}
    assert list(Repository(folder, second).config.version_policy.specific.versions) == [second]
    assert f"modit-{world.domain} version {second}: {folder}" in capsys.readouterr().out

    world.registry.point_alias(world.domain, "champion", first)
    assert main(order) == 1
    assert "alias" in capsys.readouterr().err


def test_a_bundle_with_another_sampler_is_refused_and_nothing_is_written(world, tmp_path, capsys):
    version = world.promoted()
    file = world.file(version, "sampler/sampler.onnx")
    file.write_bytes(file.read_bytes() + b"\0")
    uri = world.registry.client.tracking_uri
    assert main(["triton", "--out", str(tmp_path / "models"), "--registry", uri, "--domains", world.domain]) == 1
    assert "sampler.onnx" in capsys.readouterr().err and not (tmp_path / "models").exists()


def test_a_domain_without_the_alias_is_named(world, tmp_path, capsys):
    world.version()
    uri = world.registry.client.tracking_uri
    assert main(["triton", "--out", str(tmp_path / "models"), "--registry", uri, "--domains", world.domain]) == 1
    assert f"no version of {world.domain} has the alias 'champion'" in capsys.readouterr().err
