"""What every job has, whatever it trains."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

from runyard.protocol.notices import USUAL, Occasions, each_once

Priority = Literal["urgent", "high", "normal", "low"]


class Section(BaseModel):
    """A part of a job file: unknown fields are errors, values are not changed after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: Any) -> Any:
    """`90`, `90s`, `30m`, `12h` or `2d`."""
    if not isinstance(value, str) or not value or value[-1] not in UNITS:
        return value
    try:
        return float(value[:-1]) * UNITS[value[-1]]
    except ValueError:
        raise ValueError("must be a number of seconds, or such as 30m, 12h, 2d") from None


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


TAG = re.compile(r"[A-Za-z0-9._:/-]{1,40}")
MOST_TAGS = 20


def _tag(value: str) -> str:
    if not TAG.fullmatch(value):
        raise ValueError("a tag is 1 to 40 letters, digits and . _ - : / without blanks, such as team/nlp")
    return value


Tag = Annotated[str, AfterValidator(_tag)]
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS), AfterValidator(each_once)]


def _one_line(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("must be one line of plain text, with no blanks around it")
    return value


class ResourceSpec(Section):
    gpus: int | None = Field(default=None, ge=0, le=64)
    """GPUs for this job; one where the machine has any, unless set."""
    gpu_memory: ByteSize | None = Field(default=None, gt=0)
    """Memory on each of its GPUs, such as 8GB: jobs that say so may share a GPU. The whole GPU unless set."""
    cpus: float | None = Field(default=None, gt=0)
    """Processors that are kept for it."""
    memory: ByteSize | None = Field(default=None, gt=0)
    """Main memory that is kept for it, such as 16GB."""


class LimitSpec(Section):
    retries: int | None = Field(default=None, ge=0, le=100)
    """Times that it is tried again by itself after a failure. Unless set: 2 when its process was lost or killed, none
    after an error of its own."""
    stall_timeout: Seconds | None = None
    """Without progress for so long, it is stopped and tried again: seconds, or such as 30m. Unless set, 10 minutes
    for a job that reports its progress; a script that reports nothing is left alone."""
    max_runtime: Seconds | None = None
    """The longest that one attempt may take: seconds, or such as 12h."""
    apply_advice: bool = False
    """After a failure with a known cure (such as a smaller micro-batch when memory ran out), apply it and try again."""


class NotifySpec(Section):
    channels: list[str] = Field(min_length=1, max_length=20)
    """Names of channels that tell of it beside those that do so anyhow: the tenant's, or the submitter's own."""
    states: Occasions = Field(default_factory=lambda: list(USUAL))
    """Of what: states, `stalled`, `never_starts`; or `needs_you` for failed, stalled and never_starts."""


class RunSpec(Section):
    """What every job has."""

    name: str | None = Field(default=None, min_length=1, max_length=100)
    """Shown in lists; from the data or the command unless set."""
    experiment: Annotated[str, AfterValidator(_one_line)] | None = Field(default=None, min_length=1, max_length=100)
    """What it is a run of: runs of one experiment are shown together, with the best of them."""
    tags: Tags = Field(default_factory=list)
    """Words to find it by, such as [baseline, team/nlp]; up to 20."""
    priority: Priority = "normal"
    resources: ResourceSpec = ResourceSpec()
    limits: LimitSpec = LimitSpec()
    notify: NotifySpec | None = None
    """Who is told of it; only with a server."""
