"""A registered version as an MLflow model: a folder with `MLmodel`, signature, input example and what to load.

It holds no weights and no pickles. Its data is the address of the run and the digests that the version was registered
with; `modit.mlflow_model` loads the bundle from there and verifies it, as the service does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit import __version__
from modit.release.documents import write_document
from modit.release.kinds import SAMPLER, SEMANTIC_IDS, SET_DIFFUSION, TOWERS, kind_of
from modit.release.model_registry.model_version import Submission

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec

MODEL_FOLDER, SOURCE_FILE = "model", "release.json"
_LOADER = "modit.mlflow_model"


def write_mlflow_model(folder: Path, submission: Submission) -> None:
    """Writes the model of a submission into a folder that is not there yet."""
    import pandas as pd
    from mlflow import pyfunc

    with tempfile.TemporaryDirectory(prefix="modit-") as scratch:
        source = Path(scratch) / SOURCE_FILE
        write_document(source, {"model": submission.model, "tags": submission.tags})
        pyfunc.save_model(
            folder,
            loader_module=_LOADER,
            data_path=source,
            signature=signature_of(submission.domain),
            input_example=pd.DataFrame([submission.example]) if submission.example else None,
            pip_requirements=[f"modit[serve]=={__version__}"],
        )


def signature_of(domain: str) -> ModelSignature:
    """The columns that the model of a domain takes and gives: fields of the service's requests and answers."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

    text, number, whole, flag = DataType.string, DataType.double, DataType.long, DataType.boolean
    texts = Array(text)

    def optional(kind: Any, name: str) -> ColSpec:
        return ColSpec(kind, name, required=False)

    def items(**more: DataType) -> ColSpec:
        fields = [Property("item_id", text), Property("score", number)]
        fields += [Property(name, kind, required=False) for name, kind in {"title": text, **more}.items()]
        return ColSpec(Array(Object(fields)), "items")

    vectors = Property("vectors", Array(Array(number)), required=False)
    seeds = ColSpec(Object([Property("item_ids", texts, required=False), vectors]), "seeds")
    queries = [Property("item_id", text, required=False), Property("title", text, required=False)]
    queries.append(Property("vector", Array(number), required=False))
    read = [ColSpec(whole, "words_read"), ColSpec(texts, "unknown_words")]
    columns: dict[str, tuple[list[Any], list[Any]]] = {
        SAMPLER: (
            [seeds, optional(number, "guidance"), optional(whole, "samples"), optional(flag, "rerank")],
            [items(verdict=flag, probability=number), ColSpec(flag, "reranked")],
        ),
        SEMANTIC_IDS: (
            [ColSpec(texts, "session"), optional(flag, "repeat")],
            [items(), ColSpec(whole, "items_read"), ColSpec(texts, "ignored_item_ids")],
        ),
        TOWERS: ([ColSpec(text, "text")], [items(), *read]),
        SET_DIFFUSION: (
            [ColSpec(text, "text"), optional(flag, "return_vectors")],
            [items(query=whole), ColSpec(Array(Object(queries)), "queries"), *read],
        ),
    }
    inputs, outputs = columns[kind_of(domain).retriever]
    shared = [optional(whole, "k"), optional(texts, "exclude_item_ids")]
    return ModelSignature(Schema(inputs + shared), Schema(outputs))
