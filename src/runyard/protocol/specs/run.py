"""What every job has, whatever it trains."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Priority = Literal["urgent", "high", "normal", "low"]


class Section(BaseModel):
    """A part of a job file: unknown fields are errors, values are not changed after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ResourceSpec(Section):
    gpus: int | None = Field(default=None, ge=0, le=64)
    """GPUs for this job; one where the machine has any, unless set."""


class RunSpec(Section):
    """What every job has."""

    name: str | None = Field(default=None, min_length=1, max_length=100)
    """Shown in lists; from the data or the command unless set."""
    priority: Priority = "normal"
    resources: ResourceSpec = ResourceSpec()
