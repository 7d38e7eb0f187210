"""Independent random streams from one seed. A stream depends on its names only, never on the order of calls."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_sequence(seed: int, *names: str | int) -> np.random.SeedSequence:
    """The sequence of (seed, names): the run's seed, >= 0, and what the stream is for, such as a step and a domain."""
    hashed = hashlib.sha256("\0".join(str(name) for name in names).encode()).digest()
    return np.random.SeedSequence([seed, *np.frombuffer(hashed, dtype="<u4").tolist()])


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator of its own for (seed, names)."""
    return np.random.default_rng(seed_sequence(seed, *names))


def derived_seed(seed: int, *names: str | int) -> int:
    """An integer seed in [0, 2^31) for libraries that take one, such as torch, FAISS and scikit-learn."""
    return int(seed_sequence(seed, *names).generate_state(1, dtype=np.uint32)[0] >> 1)
