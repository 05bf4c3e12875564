"""What belongs in a download: every file opened before the first byte is sent, so that nothing can vanish meanwhile."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from runyard.db.database import Session
from runyard.db.queries import artifacts, checkpoints
from runyard.db.tables import Artifact, Job
from runyard.domain.errors import NotFoundError, NotReadyError
from runyard.domain.lifecycle import ACTIVE, FINAL, State
from runyard.domain.masks import Mask
from runyard.protocol import names
from runyard.protocol.rundir import RunDir
from runyard.services import jobs, origins, paths, secrets
from runyard.services.context import Context
from runyard.services.logs import covered

LOGS = ("stdout.log", "stderr.log", "stacks.txt")
MODEL_KINDS = ("model", "merged_model")
MODEL_HINTS = {
    State.FAILED: "retry it: it goes on from its last checkpoint, which can be downloaded, too",
    State.CANCELLED: "retry it: it goes on from its last checkpoint, which can be downloaded, too",
    State.PAUSED: "resume it; its checkpoints can be downloaded meanwhile",
    State.COMPLETED: "it left no file in its folder `final`, or that was removed since; its logs can be downloaded",
}


class Readable(Protocol):
    """As much of an open file as sending it needs."""

    @property
    def name(self) -> str: ...
    def read(self, count: int, /) -> bytes: ...
    def close(self) -> None: ...


@dataclass
class Covered:
    """A file from its start on, without what must not be shown."""

    file: BinaryIO
    mask: Mask
    place: int = 0

    @property
    def name(self) -> str:
        return self.file.name

    def read(self, count: int, /) -> bytes:
        piece = covered(self.file, self.place, count, self.mask)
        self.place += len(piece)
        return piece

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True)
class Member:
    """An open file, and as much of it as there was when it was opened."""

    name: str
    file: Readable
    size: int


@dataclass
class Bundle:
    """The files of one download; close it when they were sent."""

    name: str
    members: list[Member] = field(default_factory=list)
    checksums: str = ""
    """SHA-256 sums, as recorded when the files were written, in the format of sha256sum; empty for files that still
    grow, which are summed while they are sent."""

    def add(self, root: Path, name: str, prefix: str = "", mask: Mask | None = None) -> Member:
        """A file of a folder. Raises FileNotFoundError."""
        file = paths.opened(root, name)
        readable = Covered(file, mask) if mask else file
        self.members.append(Member(prefix + name, readable, os.fstat(file.fileno()).st_size))
        return self.members[-1]

    def close(self) -> None:
        for member in self.members:
            member.file.close()


async def model(session: Session, job_id: str, context: Context) -> Bundle:
    """The trained model, with the merged one where there is one. Raises NotFoundError and NotReadyError."""
    job = await jobs.get(session, job_id)
    files = [item for item in await artifacts.of_job(session, job_id) if item.kind in MODEL_KINDS]
    if not files or State(job.state) in ACTIVE:
        hint = MODEL_HINTS.get(State(job.state), "wait until it has completed: `runyard jobs watch` shows it")
        raise NotReadyError(f"job {job.id} is {job.state} and has no final model", hint=hint)
    return _open(_bundle(job, "model"), context.rundir(job.id), files)


async def checkpoint(session: Session, job_id: str, step: int, context: Context) -> Bundle:
    """One complete checkpoint. Raises NotFoundError also when it was rotated away."""
    job = await jobs.get(session, job_id)
    rows = await checkpoints.of_job(session, job_id)
    kept = [row.step for row in rows if row.removed_at is None]
    gone = NotFoundError(
        f"job {job.id} has no checkpoint of step {step}",
        hint=f"it has: {', '.join(map(str, kept))}" if kept else "it has none yet",
    )
    row = next((row for row in rows if row.step == step and row.removed_at is None), None)
    folder = origins.folder(row, context) if row else None
    if row is None or folder is None:
        raise gone
    bundle = _bundle(job, f"checkpoint-{step}")
    for name in _files(folder):
        with suppress(FileNotFoundError):  # a link that leads out of the folder
            bundle.add(folder, name, f"{folder.name}/")
    if not bundle.members or not folder.is_dir():  # rotated away while it was opened
        bundle.close()
        raise gone
    sent = {member.name for member in bundle.members}
    sums = ((f"{folder.name}/{name}", digest) for name, digest in row.files.items())
    bundle.checksums = "".join(f"{digest}  {name}\n" for name, digest in sums if name in sent)
    return bundle


async def logs(session: Session, job_id: str, context: Context) -> Bundle:
    """Output and errors of every attempt, and the history of events. Raises NotFoundError and NotReadyError."""
    job = await jobs.get(session, job_id)
    rundir = context.rundir(job.id)
    mask = secrets.require_mask(rundir, context)
    bundle = _bundle(job, "logs")
    attempts = (rundir.attempt(number) for number in rundir.attempts())
    for path in [rundir.events, *(folder / name for folder in attempts for name in LOGS)]:
        with suppress(FileNotFoundError):
            member = bundle.add(rundir.root, str(path.relative_to(rundir.root)), mask=mask)
            if path.name == "stacks.txt" and not member.size:
                bundle.members.pop().file.close()
    if not bundle.members:
        hint = None if State(job.state) in FINAL else "wait until it has started"
        raise NotReadyError(f"job {job.id} is {job.state} and has no logs", hint=hint)
    return bundle


def _open(bundle: Bundle, rundir: RunDir, files: Sequence[Artifact]) -> Bundle:
    for item in files:
        if not _is_as_written(bundle, rundir, item):
            bundle.close()
            raise NotFoundError(f"{item.path} is not there as it was written: the run folder was changed")
    bundle.checksums = "".join(f"{item.hash_sha256}  {item.path}\n" for item in files)
    with suppress(FileNotFoundError):
        if rundir.manifest.name not in {item.path for item in files}:
            bundle.add(rundir.root, rundir.manifest.name)
    return bundle


def _is_as_written(bundle: Bundle, rundir: RunDir, item: Artifact) -> bool:
    try:
        return names.is_plain(item.path) and bundle.add(rundir.root, item.path).size == item.size_bytes
    except FileNotFoundError:
        return False


def _files(folder: Path) -> Iterable[str]:
    """Whatever is no folder, under names that can be unpacked anywhere."""
    found = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return (name for path in found if names.is_plain(name := str(path.relative_to(folder))))


def _bundle(job: Job, what: str) -> Bundle:
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", job.name).strip("-.") or "job"
    return Bundle(f"{name}-{job.id}-{what}.zip")
