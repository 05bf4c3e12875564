"""What lists show of a job beside its state, and how several are changed at once."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runyard.domain.lifecycle import State
from runyard.protocol.specs.run import Priority, Tags

MOST_JOBS = 200


class Best(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    name: str
    """`eval_loss` of a job that evaluates, else `loss`."""
    value: float
    step: int


class Facts(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    model: str | None = None
    """As it was asked for."""
    experiment: str | None = None
    tags: list[str] = []
    best: Best | None = None
    last_loss: float | None = None
    """Of training."""
    throughput: float | None = None
    """Samples a second while it trained."""
    duration: float | None = None
    """Seconds in which it held a machine, up to now; pauses and waiting don't count."""


class JobChange(BaseModel):
    """What is not given stays as it is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tags: Tags | None = None
    """All that it has from now on."""
    priority: Priority | None = None
    """For as long as it has not ended."""

    @model_validator(mode="after")
    def something(self) -> "JobChange":
        if self.tags is None and self.priority is None:
            raise ValueError("name what is to change: tags, priority, or both")
        return self


class BulkAsk(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    job_ids: Annotated[
        list[Annotated[str, Field(max_length=100, pattern=r"^[ -~]*$")]], Field(min_length=1, max_length=MOST_JOBS)
    ]
    action: Literal["cancel", "add_tags", "remove_tags"]
    tags: Tags = Field(default_factory=list)
    """To add or remove."""

    @model_validator(mode="after")
    def tags_fit_the_action(self) -> "BulkAsk":
        if (self.action == "cancel") == bool(self.tags):
            raise ValueError("cancel takes no tags, add_tags and remove_tags need at least one")
        return self


class BulkOutcome(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    job_id: str
    outcome: Literal["done", "unchanged", "refused"]
    """`unchanged`: it was so already."""
    state: State | None = None
    tags: list[str] | None = None
    code: str | None = None
    """Why it was refused, as a word for programs."""
    detail: str | None = None


class BulkRead(BaseModel):
    items: list[BulkOutcome]


class Counts(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    total: int
    by_state: dict[State, int]
    """Every state, those without jobs too."""
