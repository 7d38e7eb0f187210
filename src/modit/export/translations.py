"""Torch to ONNX, by translations of our own where the exporter has none, or one that runs slower than it must."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset20
from torch import nn

from modit.inference.sampler_file import OPSET

op: Any = opset20  # its types tell tensors from numbers, and these are both


def stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """aten.sort.stable, which the exporter lacks: ONNX TopK breaks ties by the lower index, so it is a stable sort."""
    length = op.Shape(x, start=dim, end=dim + 1)
    return op.TopK(x, length, axis=dim, largest=1 if descending else 0, sorted=1)


def rms_norm(x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """aten.rms_norm over the last dimension, in the form that onnxruntime knows as one operator."""
    if len(normalized_shape) != 1 or weight is None:
        raise ValueError(f"rms_norm of {normalized_shape} with weight {weight}; allowed: one dimension, with a weight")
    least = torch.finfo(torch.float32).eps if eps is None else eps
    axis = op.Constant(value_ints=[-1])
    mean = op.ReduceMean(op.Pow(x, op.Constant(value_float=2.0)), axis, keepdims=1)
    root = op.Sqrt(op.Add(mean, op.Constant(value_float=least)))
    return op.Mul(op.Div(x, root), weight)


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """aten.scaled_dot_product_attention [B, A, T, E] of rows that each see something: no softmax is empty."""
    if dropout_p or enable_gqa:
        raise ValueError(f"attention with dropout {dropout_p}, grouped {enable_gqa}; allowed: neither")
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scaled = op.Mul(query, op.Constant(value_float=factor))
    scores = op.MatMul(scaled, op.Transpose(key, perm=[0, 1, 3, 2]))
    mask = _triangle(scores) if is_causal else attn_mask
    if mask is not None:
        scores = op.Where(mask, scores, op.Constant(value_float=-np.inf))
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _triangle(scores: Any) -> Any:
    """True where a row may look: at columns up to its own number."""
    start, step = op.Constant(value_int=0), op.Constant(value_int=1)
    rows, columns = (op.Range(start, op.Squeeze(op.Shape(scores, start=axis, end=axis + 1)), step) for axis in (2, 3))
    return op.LessOrEqual(columns, op.Unsqueeze(rows, op.Constant(value_ints=[1])))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.sort.stable: stable_sort,
    torch.ops.aten.rms_norm.default: rms_norm,
    torch.ops.aten.scaled_dot_product_attention.default: attention,
}


def translate(module: nn.Module, arguments: tuple[Any, ...], shapes: tuple[Any, ...]) -> onnx.GraphProto:
    """Exports a module of tensors.

    Args:
        module: in evaluation mode.
        arguments: examples, of sizes other than 0 and 1 where these are dynamic.
        shapes: dynamic dimensions of each argument, as `torch.export` takes them.
    """
    with _quiet():
        program = torch.export.export(module, arguments, dynamic_shapes=shapes, strict=False)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            custom_translation_table=TRANSLATIONS,
        )
    if exported is None:  # only its legacy form, which writes a file, returns nothing
        raise TypeError("torch.onnx.export returned no program")
    return exported.model_proto.graph


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its stages and what constants it merges, and warns of torchvision; none is of interest."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
