"""What a job may name as data and model: uploads, files of the data folder or of allowed paths, hub names."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from runyard.db.database import Database, Session
from runyard.db.queries import datasets
from runyard.db.tables import DataSet
from runyard.domain.errors import InvalidError
from runyard.protocol import commands
from runyard.protocol.problems import Problem
from runyard.protocol.specs import Spec
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import origins
from runyard.services.context import Context

UPLOADED = "dataset:"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
HUB_DATA = re.compile(rf"{HUB_NAME.pattern}(:[\w.-]+)?", re.ASCII)
DATA_ENDINGS = (".jsonl", ".csv", ".parquet")
MODEL_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt")


@dataclass(frozen=True)
class Data:
    """One data field of a spec, found: `name` is what the trainer gets, `upload` the data set behind it."""

    field: str
    name: str
    upload: DataSet | None = None


@dataclass(frozen=True)
class Resolved:
    """A spec whose names are absolute paths or hub names."""

    spec: Spec
    data: tuple[Data, ...] = ()
    parent_id: str | None = None
    """The job from whose checkpoint it starts."""


class _RefusedError(Exception):
    """The message says what to name instead."""


async def resolve(database: Database, spec: Spec, context: Context) -> Resolved:
    """Find what a spec names. Raises InvalidError with one problem for each field that names nothing usable."""
    if isinstance(spec, ScriptSpec):
        require(commands.missing(spec))  # whoever may run a program may read any file with it
        return Resolved(spec)
    async with database.read() as session:
        return await _resolve(session, spec, context)


def require(problems: list[Problem]) -> None:
    if problems:
        raise InvalidError("the job names things that this server can't use", problems=problems)


async def _resolve(session: Session, spec: SftSpec | DpoSpec, context: Context) -> Resolved:
    problems: list[Problem] = []
    data: list[Data] = []
    model = spec.model.name
    try:
        model = find_model(spec.model.name, context)
    except _RefusedError as refusal:
        problems.append(Problem(field="model.name", message=str(refusal)))
    for field, name in (("data.train", spec.data.train), ("data.eval", spec.data.eval)):
        try:
            if name is not None:
                data.append(await _find_data(session, field, name, context))
        except _RefusedError as refusal:
            problems.append(Problem(field=field, message=str(refusal)))
    origin = None
    try:
        if spec.continue_from is not None:
            origin = await origins.find(session, spec.continue_from, context)
    except ValueError as error:
        problems.append(Problem(field="continue_from", message=str(error)))
    require(problems)
    found = {item.field.removeprefix("data."): item.name for item in data}
    resolved = spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"name": model}),
            "data": spec.data.model_copy(update=found),
            "continue_from": origin.folder if origin else None,
        }
    )
    return Resolved(resolved, tuple(data), origin.job_id if origin else None)


def find_model(name: str, context: Context) -> str:
    """The absolute path of a model in reach, or a hub name as it is. Raises _RefusedError."""
    path = _in_reach(name, context.models, context)
    if path is not None and path.exists():
        return str(path)
    if _is_hub_name(name, HUB_NAME, context.models):
        return name
    known = sorted(path.name for path in context.models.glob("[!.]*")) if context.models.is_dir() else []
    raise _RefusedError(
        f"{_quoted(name)} is no model that this server may read: name a hub model (owner/name), or a file or folder in "
        f"{context.models} (it holds: {', '.join(known[:10]) or 'nothing'}); `runyard serve --allow-path FOLDER` opens "
        "another folder"
    )


async def _find_data(session: Session, field: str, name: str, context: Context) -> Data:
    if name.startswith(UPLOADED):
        upload = await _find_upload(session, name.removeprefix(UPLOADED))
        return Data(field, str(context.home / upload.path), upload)
    path = _in_reach(name, context.datasets, context)
    if path is not None and path.is_file():
        if path.suffix.lower() not in DATA_ENDINGS:
            raise _RefusedError(f"{_quoted(name)} must end in {', '.join(DATA_ENDINGS)}")
        return Data(field, str(path))
    if _is_hub_name(name, HUB_DATA, context.datasets):
        return Data(field, name)
    raise _RefusedError(
        f"{_quoted(name)} is no file that this server may read: upload it with `runyard datasets upload FILE` and name "
        "it as dataset:ID, or name a hub data set (owner/name); `runyard serve --allow-path FOLDER` opens a folder"
    )


async def _find_upload(session: Session, name: str) -> DataSet:
    found = await datasets.named(session, name)
    if len(found) == 1:
        return found[0]
    if not found:
        raise _RefusedError(f"there is no data set {_quoted(name)}; `runyard datasets list` shows what is there")
    ids = ", ".join(f"{UPLOADED}{upload.id}" for upload in found)
    raise _RefusedError(f"{len(found)} data sets are called {_quoted(name)}: name one by its id ({ids})")


def _is_hub_name(name: str, pattern: re.Pattern[str], folder: Path) -> bool:
    """A file's name is none, nor is that of something here which is out of reach."""
    is_file = name.lower().endswith((*DATA_ENDINGS, *MODEL_ENDINGS))
    return bool(pattern.fullmatch(name)) and not is_file and not os.path.lexists(folder / name)


def _in_reach(name: str, folder: Path, context: Context) -> Path | None:
    """The path, links followed, if it lies in the folder or under an allowed path; whether it exists is not told."""
    try:
        path = (folder / name).resolve()
        inside = any(
            root in path.parents or (root == path and root != folder.resolve())
            for root in (folder.resolve(), *(allowed.resolve() for allowed in context.allowed_paths))
        )
        path.exists()
    except (OSError, ValueError, RuntimeError):  # NUL, a name too long, links in a circle
        return None
    return path if inside else None


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:100]}…")
