"""Files that a job leaves."""

from typing import Any

from pydantic import AliasChoices, Field

from runyard.schemas.jobs import Read


class ArtifactRead(Read):
    # Read from a row by the server, and from the server's JSON by the client. A row has a `metadata` of another kind.
    artifact_id: str = Field(validation_alias=AliasChoices("artifact_id", "id"))
    job_id: str
    path: str
    kind: str
    size_bytes: int
    hash_sha256: str
    created_at: float
    metadata: dict[str, Any] = Field(validation_alias=AliasChoices("details", "metadata"))
