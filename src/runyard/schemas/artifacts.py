"""Files that a job leaves."""

from typing import Any

from pydantic import Field

from runyard.schemas.jobs import Read


class ArtifactRead(Read):
    artifact_id: str = Field(validation_alias="id")
    job_id: str
    path: str
    kind: str
    size_bytes: int
    hash_sha256: str
    created_at: float
    metadata: dict[str, Any] = Field(validation_alias="details")
