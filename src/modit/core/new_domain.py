"""A domain that is added to a run: what is its own, and what it takes from that run (docs/adr/0031)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from modit.core.artifacts import ArtifactStore
from modit.core.names import DOMAIN_NAME
from modit.core.storage import Storage

# A column of `items`, or a function of a module: `column`, `package.module:function`.
SCORER = r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*)?$"


class NewDomain(BaseModel):
    """What a run that adds a domain starts from.

    Attributes:
        name: of the domain.
        run: address of the run whose catalogue, index and shared checkpoint it takes.
        scorer: a column of `items`, or `package.module:function`; empty for the column `attr_NAME`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=rf"^{DOMAIN_NAME.pattern}$")]
    run: Annotated[str, Field(min_length=1), AfterValidator(lambda uri: Storage(uri).uri)]
    scorer: Annotated[str, StringConstraints(pattern=rf"{SCORER}|^$")] = ""

    @property
    def column(self) -> str | None:
        """The column of `items` with the scorer's verdicts; None where a function is asked."""
        return None if ":" in self.scorer else self.scorer or f"attr_{self.name}"

    @property
    def entry_point(self) -> tuple[str, str] | None:
        """Module and name of the function that is asked; None where a column has the verdicts."""
        module, colon, function = self.scorer.partition(":")
        return (module, function) if colon else None

    def started_from(self, store: ArtifactStore) -> ArtifactStore:
        """The artifacts of the run that it starts from.

        Args:
            store: of the run that adds the domain.
        """
        return ArtifactStore(Storage(self.run), store.cache)
