from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from modit.core.errors import ArtifactError, ContractError
from modit.export.sampler import export_sampler, export_vote
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SamplerInputs
from tests.unit.samplers import DIMENSION, SEEDS, build_sampler, describe, translate


def test_same_weights_give_same_bytes(sampler, sampler_parts, sampler_file, tmp_path):
    export_sampler(sampler, sampler_parts, describe(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == sampler_file.read_bytes()


def test_a_vote_file_has_the_same_bytes_each_time(vote_file, tmp_path):
    export_vote(DIMENSION, SEEDS, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == vote_file.read_bytes()


@pytest.mark.parametrize("name", ["sampler_file", "vote_file"])
def test_file_holds_no_path_or_source_of_the_machine_that_wrote_it(request, name):
    file = request.getfixturevalue(name)
    content = file.read_bytes()
    for trace in (b".py", b"site-packages", b"stack_trace", str(file.parent).encode()):
        assert trace not in content


def test_file_is_valid_onnx_with_dynamic_batch_and_seed_count(sampler_file):
    model = onnx.load(sampler_file)
    onnx.checker.check_model(model, full_check=True)
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    assert shapes == {
        "seeds": ["batch", "count", 8],
        "mask": ["batch", "count"],
        "noise": ["batch", 8],
        "guidance": ["scales"],
        "evidence": ["batch", 4, 8],
    }


def test_file_says_what_it_is(exported):
    assert exported.info == describe()


def test_info_that_does_not_describe_the_sampler_is_refused(sampler, sampler_parts, tmp_path):
    with pytest.raises(ArtifactError, match="steps is 9, the sampler has 2"):
        export_sampler(sampler, sampler_parts, describe(steps=9), tmp_path / "sampler.onnx")


def test_parts_of_samplers_of_another_size_are_refused(sampler_parts, tmp_path):
    with pytest.raises(ArtifactError, match="parts of a sampler with samples 3; allowed: 1"):
        export_sampler(build_sampler(samples=1), sampler_parts, describe(samples=1), tmp_path / "sampler.onnx")


def test_one_translation_serves_the_weights_of_any_domain(sampler_parts, inputs, tmp_path):
    sampler = build_sampler()
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.mul_(1.1)
        expected = sampler(*map(torch.from_numpy, inputs), torch.tensor(3.0)).numpy()
    export_sampler(sampler, sampler_parts, describe(), tmp_path / "sampler.onnx")
    found = load_sampler(tmp_path / "sampler.onnx").queries(SamplerInputs(*inputs))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_model_without_copy_readout_that_draws_one_sample_exports_too(inputs, tmp_path):
    sampler = build_sampler(copy_heads=0, depth=1, samples=1)
    export_sampler(sampler, translate(sampler), describe(samples=1), tmp_path / "sampler.onnx")
    with torch.no_grad():
        expected = sampler(*map(torch.from_numpy, inputs), torch.tensor(3.0)).numpy()
    np.testing.assert_allclose(
        load_sampler(tmp_path / "sampler.onnx").queries(SamplerInputs(*inputs)), expected, atol=1e-4
    )


def test_queries_have_unit_length_and_follow_the_guidance(exported, inputs):
    plain, strong = exported.queries(SamplerInputs(*inputs, 1.0)), exported.queries(SamplerInputs(*inputs, 3.0))
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-5)
    assert np.abs(plain - strong).max() > 1e-3
    mixed = exported.queries(SamplerInputs(*inputs, np.array([1, 3, 1, 3], np.float32)))
    np.testing.assert_allclose(mixed, np.where([[0], [1], [0], [1]], strong, plain), atol=1e-5)


def test_guidance_is_the_recommended_one_when_not_given(exported, inputs):
    np.testing.assert_array_equal(
        exported.queries(SamplerInputs(*inputs)), exported.queries(SamplerInputs(*inputs, 3.0))
    )


def test_length_of_seeds_does_not_matter_and_padding_is_not_read(exported, inputs):
    seeds, mask, noise = inputs
    mask = mask.copy()
    mask[:, 3:] = False
    padded = seeds.copy()
    padded[:, 3:] = np.nan
    np.testing.assert_allclose(
        exported.queries(SamplerInputs(5 * padded, mask, noise)),
        exported.queries(SamplerInputs(seeds[:, :3], mask[:, :3], noise)),
        atol=1e-5,
    )


def test_long_batches_run_in_blocks_with_the_same_answers(exported, inputs, monkeypatch):
    expected = exported.queries(SamplerInputs(*inputs))
    monkeypatch.setattr("modit.inference.runtime._TOKENS_AT_ONCE", 12)
    np.testing.assert_allclose(exported.queries(SamplerInputs(*inputs)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, m, n: (s[..., :7], m, n), r"seeds have shape \(4, 5, 7\); allowed: \[B, M, 8\]"),
        (lambda s, m, n: (np.tile(s, (1, 3, 1)), np.tile(m, (1, 3)), n), r"M in 1..12"),
        (lambda s, m, n: (s, m[:, :4], n), r"mask is bool \(4, 4\); allowed: bool \(4, 5\)"),
        (lambda s, m, n: (s, m.astype(int), n), "mask is int64"),
        (lambda s, m, n: (s, m & (np.arange(4) != 2)[:, None], n), "1 rows of mask have no seed, the first is row 2"),
        (lambda s, m, n: (s, m, n[:3]), r"noise has shape \(3, 8\); allowed: \(4, 8\)"),
        (
            lambda s, m, n: (s * (np.arange(4) != 1)[:, None, None], m, n),
            "seeds: 5 vectors, the first number 5",
        ),
        (lambda s, m, n: (s, m, n * np.nan), "noise: 4 vectors"),
        (lambda s, m, n: (s, m, n, -1.0), "guidance -1.0; allowed"),
        (lambda s, m, n: (s, m, n, np.ones(3)), r"a scalar or \[4\]"),
    ],
)
def test_wrong_inputs_are_refused_with_what_is_allowed(exported, inputs, change, message):
    with pytest.raises(ContractError, match=message):
        exported.queries(SamplerInputs(*change(*inputs)))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file_is_refused_by_name(sampler_file, tmp_path, share):
    path = tmp_path / "cut.onnx"
    content = sampler_file.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match="cut.onnx"):
        load_sampler(path)


def test_missing_file_and_foreign_model_are_refused_by_name(sampler_file, tmp_path):
    with pytest.raises(ArtifactError, match="absent.onnx: no sampler file"):
        load_sampler(tmp_path / "absent.onnx")
    model = onnx.load(sampler_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match="foreign.onnx: metadata field format is None"):
        load_sampler(tmp_path / "foreign.onnx")


def test_info_survives_the_metadata(sampler_file):
    info = replace(describe(), domain="sci fi", guidance=2.5)
    assert type(info).from_metadata(info.as_metadata(), sampler_file) == info
