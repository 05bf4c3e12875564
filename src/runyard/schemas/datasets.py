"""Uploaded data sets."""

from typing import Any

from runyard.schemas.jobs import Read


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
