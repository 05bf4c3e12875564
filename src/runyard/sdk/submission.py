"""Submitting: local data files go up first, each content once."""

import hashlib
import secrets
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from runyard.protocol.problems import Problem
from runyard.schemas.datasets import DataSetRead
from runyard.schemas.jobs import JobDetail
from runyard.sdk import calls, jobfile
from runyard.sdk.errors import JobFileError

Steps = calls.Call[Any] | calls.Work[Any]


def submit(
    job: jobfile.Spec | Path | str | Mapping[str, Any], *, idempotency_key: str | None = None
) -> Generator[Steps, Any, JobDetail]:
    """Queue a job: a spec, the path of a job file, or the spec's fields as a dict.

    Data files that are on this machine are uploaded first. With the same `idempotency_key` the same job comes back
    instead of a second one; a new key is made for each call unless given.
    """
    spec = _spec(job)
    for field in ("train", "eval"):
        name = getattr(spec.data, field)
        if name is None or not (path := Path(name)).exists():
            continue
        if not path.is_file():
            raise JobFileError([Problem(field=f"data.{field}", message=f"{path} is a folder; give one file")])
        uploaded = yield from upload(path)
        data = spec.data.model_copy(update={field: f"dataset:{uploaded.id}"})
        spec = spec.model_copy(update={"data": data, "name": spec.name or path.stem})
    return (yield from calls.post_job(spec, idempotency_key or secrets.token_hex(16)))


def upload(path: Path | str, *, name: str | None = None) -> Generator[Steps, Any, DataSetRead]:
    """Upload a data file; the one that is already there when name and content are the same."""
    path = Path(path)
    name = name or path.name
    digest = yield from calls.Work(lambda: _sha256(path))
    for known in (yield from calls.datasets()):
        if known.name == name and known.hash_sha256 == digest:
            return known
    return (yield from calls.post_dataset(path, name))


def _spec(job: jobfile.Spec | Path | str | Mapping[str, Any]) -> jobfile.Spec:
    match job:
        case Path() | str():
            return jobfile.load(Path(job))
        case Mapping():
            return jobfile.from_dict(job, Path.cwd())
    return job


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
