"""An optional copy of the index on a GPU. Never required: faiss-cpu has none of this."""

from __future__ import annotations

import logging
from typing import Literal

import faiss

from modit.core.errors import ConfigError

_logger = logging.getLogger(__name__)


def gpu_copy(index: faiss.Index, use_gpu: bool | Literal["auto"]) -> faiss.Index | None:
    """Clones the index to the first GPU.

    Args:
        index: the index on the CPU.
        use_gpu: False never, "auto" where faiss-gpu is installed and sees a GPU, True insists.

    Returns:
        The copy, or None where the CPU is used.

    Raises:
        ConfigError: `use_gpu` is True and there is no faiss-gpu or no GPU.
    """
    if use_gpu is False:
        return None
    missing = _what_is_missing()
    if missing is None:
        _logger.info("index cloned to GPU 0; searches under a mask stay on the CPU")
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    if use_gpu is True:
        raise ConfigError(f"stage_index.use_gpu is True, but {missing}; allowed here: auto, false")
    _logger.info("index stays on the CPU: %s", missing)
    return None


def _what_is_missing() -> str | None:
    if not hasattr(faiss, "StandardGpuResources"):
        return f"faiss {faiss.__version__} is built without GPU support (faiss-gpu is not installed)"
    return None if faiss.get_num_gpus() > 0 else "faiss-gpu sees no GPU"
