"""Uploaded data sets."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from runyard.schemas.jobs import Read


class FetchAsk(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str = Field(min_length=1, max_length=2000)
    """http:// or https://, on the public network unless an operator has opened another host."""
    name: str | None = Field(default=None, min_length=1, max_length=200)
    """A name that ends in .jsonl, .csv or .parquet; the last part of the address unless set."""


class DataSetRead(Read):
    id: str
    name: str
    format: str
    size_bytes: int
    hash_sha256: str
    rows: int | None
    report: dict[str, Any]
    """What the row-by-row check found: shape, counts, and the first problems with their lines."""
    created_at: float
