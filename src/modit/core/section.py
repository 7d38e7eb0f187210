"""What every section of `params.yaml` is: fields with ranges, which are checked when the file is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
AtLeastZero = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of every section: unknown fields are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
