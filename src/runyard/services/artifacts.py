"""Files that a job leaves: which there are, and where they lie for a download."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runyard.db.database import Session
from runyard.db.queries import artifacts as queries
from runyard.db.queries import checkpoints
from runyard.db.tables import Artifact, Checkpoint
from runyard.domain.errors import NotFoundError
from runyard.services import jobs
from runyard.services.context import Context


@dataclass(frozen=True)
class Stored:
    """An artifact and its file."""

    artifact: Artifact
    path: Path


async def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    """Raises NotFoundError."""
    return await queries.of_job(session, (await jobs.get(session, job_id)).id)


async def checkpoints_of_job(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Those that were rotated away, too. Raises NotFoundError."""
    return await checkpoints.of_job(session, (await jobs.get(session, job_id)).id)


async def stored(session: Session, artifact_id: str, context: Context) -> Stored:
    """Raises NotFoundError also when the file is gone, changed, or outside its run folder."""
    artifact = await queries.get(session, artifact_id)
    if artifact is None:
        raise NotFoundError(f"there is no artifact {artifact_id[:100]!r}")
    path = within(context.rundir(artifact.job_id).root, artifact.path)
    if path is None or not path.is_file():
        raise NotFoundError(f"the file {artifact.path} of job {artifact.job_id} is no longer there")
    if path.stat().st_size != artifact.size_bytes:
        raise NotFoundError(f"the file {artifact.path} of job {artifact.job_id} was changed after it was written")
    return Stored(artifact, path)


def within(root: Path, name: str) -> Path | None:
    """The path, links followed, unless it leaves the folder."""
    try:
        path = (root / name).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path.is_relative_to(root.resolve()) else None
