"""The steps of training sessions: the items so far, and the next one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences


class SessionSteps:
    """All steps of some sessions, one for each item but the first of a session.

    Attributes:
        items: of all sessions int64 [n], oldest first.
        starts: place in `items` where the session of each step starts, int64 [steps].
        places: of the next item.
        stops: where the session ends, not included.
    """

    def __init__(self, training: Sequences) -> None:
        """Finds the steps.

        Args:
            training: training items of each session, oldest first.

        Raises:
            InsufficientDataError: no session has two items.
        """
        lengths = np.diff(training.offsets)
        starts = np.repeat(training.offsets[:-1], lengths).astype(np.int64)
        places = np.flatnonzero(np.arange(len(training.items)) > starts)
        if not len(places):
            raise InsufficientDataError("interactions: no training session has two items, so there is no next item")
        self.items = torch.from_numpy(np.asarray(training.items, np.int64))
        self.starts, self.places = torch.from_numpy(starts[places]), torch.from_numpy(places)
        self.stops = torch.from_numpy(np.repeat(training.offsets[1:], lengths)[places].astype(np.int64))

    def __len__(self) -> int:
        return len(self.places)

    def histories(self, steps: Tensor, window: int) -> Tensor:
        """The last items before the next one, at most `window`, int64 [B, window], padded with -1 at the start."""
        return self._between(self.places[steps] - window, window, self.starts[steps], self.places[steps])

    def following(self, steps: Tensor, count: int) -> Tensor:
        """The next item and those after it, at most `count`, int64 [B, count], padded with -1 at the end."""
        return self._between(self.places[steps], count, self.places[steps], self.stops[steps])

    def sessions(self, steps: Tensor) -> Tensor:
        """All training items of the session of each step, int64 [B, longest], padded with -1 at the end."""
        longest = int((self.stops[steps] - self.starts[steps]).max())
        return self._between(self.starts[steps], longest, self.starts[steps], self.stops[steps])

    def _between(self, first: Tensor, count: int, start: Tensor, stop: Tensor) -> Tensor:
        places = first[:, None] + torch.arange(count)
        inside = (places >= start[:, None]) & (places < stop[:, None])
        return torch.where(inside, self.items[places.clamp(0, len(self.items) - 1)], -1)


def draw(cumulative: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws numbers in proportion to weights, int64.

    Args:
        cumulative: running sum of the weights, float64 [n], the last above 0.
        shape: of what is drawn.
        generator: of the draws.
    """
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * cumulative[-1]
    return torch.searchsorted(cumulative, uniform, right=True).clamp_max(len(cumulative) - 1)
