"""Submitting: local data files go up first; the server keeps each content once."""

import os
import secrets
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from runyard.protocol.specs import Spec
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.schemas.datasets import DataSetRead
from runyard.schemas.jobs import JobDetail
from runyard.sdk import calls, jobfile

Steps = calls.Call[Any]
ADDRESSES = ("http://", "https://")


def submit(
    job: Spec | Path | str | Mapping[str, Any], *, idempotency_key: str | None = None
) -> Generator[Steps, Any, JobDetail]:
    """Queue a job: a spec, the path of a job file, or the spec's fields as a dict.

    Data files that are on this machine are uploaded first. With the same `idempotency_key` the same job comes back
    instead of a second one; a new key is made for each call unless given.
    """
    spec = yield from prepared(job)
    return (yield from calls.post_job(spec, idempotency_key or secrets.token_hex(16)))


def prepared(job: Spec | Path | str | Mapping[str, Any]) -> Generator[Steps, Any, Spec]:
    """The spec of a job; its data files that are on this machine are uploaded."""
    spec = _spec(job)
    return spec if isinstance(spec, ScriptSpec) else (yield from _with_uploads(spec))


def _with_uploads(spec: SftSpec | DpoSpec) -> Generator[Steps, Any, SftSpec | DpoSpec]:
    for field in ("train", "eval"):
        name = getattr(spec.data, field)
        if name is None or not os.path.isabs(name) or not os.path.isfile(name):
            continue
        uploaded = yield from upload(Path(name))
        data = spec.data.model_copy(update={field: f"dataset:{uploaded.id}"})
        spec = spec.model_copy(update={"data": data})
    return spec


def upload(path: Path | str, *, name: str | None = None) -> Generator[Steps, Any, DataSetRead]:
    """Upload a data file, or have the server fetch it if `path` is an http or https address.

    Gives the one that is already there when name and content are the same.
    """
    if isinstance(path, str) and path.startswith(ADDRESSES):
        return (yield from calls.fetch_dataset(path, name))
    path = Path(path)
    return (yield from calls.post_dataset(path, name or path.name))


def _spec(job: Spec | Path | str | Mapping[str, Any]) -> Spec:
    match job:
        case Path() | str():
            return jobfile.load(Path(job))
        case Mapping():
            return jobfile.from_dict(job, Path.cwd())
    return job
