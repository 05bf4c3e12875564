"""Curves in columns, for charts."""

from pydantic import BaseModel, ConfigDict, Field


class Curve(BaseModel):
    """By bucket: lowest, highest and last value, all null where a value was not finite."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    split: str
    step: list[int]
    """The last one of each bucket."""
    min: list[float | None]
    max: list[float | None]
    last: list[float | None]
    at: list[float]
    """When the last one came: seconds since the epoch."""
    smooth: list[float | None] = Field(default_factory=list)
    """The average at the last one; only where `smooth` was asked for."""


class Ruler(BaseModel):
    """What steps are in other units."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    step: list[int]
    seconds: list[float]
    """At work: pauses and waits are cut out."""
    tokens: list[float | None] | None = None
    """Of a job that counts them."""


class Curves(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    x: Ruler
    series: dict[str, Curve]
    """By name: a value of an evaluation has `eval_` or `eval/` before it."""
    names: list[str]
    """All that there are, in the order in which they were first reported."""
