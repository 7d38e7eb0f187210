"""What the gate reads of a domain, and whether all of it is of one run."""

from __future__ import annotations

from dataclasses import dataclass

from modit.core.errors import ArtifactError
from modit.release.documents import Json
from modit.release.gate.champion import Champion


@dataclass(frozen=True)
class Evidence:
    """What was measured of one domain.

    Attributes:
        domain: Its name.
        measured: Content of its `evaluation.json`.
        sampler: Content of `sampler.json` of the candidate.
        champion: As it was fetched.
        servability: Content of `servability.json`.
        parity: Content of `parity.json`.
    """

    domain: str
    measured: Json
    sampler: Json
    champion: Champion
    servability: Json
    parity: Json

    def verify(self) -> None:
        """Checks that the parts belong together.

        Raises:
            ArtifactError: One of them was edited, or is of another run; it is named.
        """
        measured, sampler, trial = self.measured, self.sampler, self.servability
        pairs = (
            ("evaluation.json: candidate", measured.get("candidate"), "model_digest", sampler.get("model_digest")),
            ("evaluation.json: champion", measured.get("champion"), "champion.json", self.champion.facts),
            (
                "evaluation.json: index_digest",
                measured.get("catalog", {}).get("index_digest"),
                "index_digest",
                sampler.get("index_digest"),
            ),
            *(
                (f"servability.json: {name}", trial.get(name), name, sampler.get(name))
                for name in ("sampler_digest", "index_digest")
            ),
        )
        for what, found, other, expected in pairs:
            if found is None or found != expected:
                raise ArtifactError(
                    f"domain {self.domain}, {what} is {found}; the candidate's {other} is {expected}: not of one run"
                )
