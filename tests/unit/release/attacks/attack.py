"""An attack: what is tried, and the name that it is refused by. Each theme has a list of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.unit.release.world import World

Act = Callable[[World], str]


class Attack(NamedTuple):
    """What is tried, the name of the refusal, and who tries it: does it to a world and gives what it was told."""

    words: str
    name: str
    act: Act


class Attacks(list[Attack]):
    """Those of a theme, in the order in which they are shown."""

    def add(self, words: str, name: str) -> Callable[[Act], Act]:
        """Adds a function."""

        def adding(act: Act) -> Act:
            self.append(Attack(words, name, act))
            return act

        return adding
