"""What a job may name: uploads of its tenant as data, what is in the models folder as model; for both, what lies under
an allowed path, and hub names."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runyard.db.database import Database, Session
from runyard.db.queries import datasets
from runyard.db.tables import DataSet
from runyard.domain.access import Owner
from runyard.domain.errors import ForbiddenError, InvalidError
from runyard.protocol import commands
from runyard.protocol.problems import Problem
from runyard.protocol.specs import Spec
from runyard.protocol.specs.language import DpoSpec, ModelSpec, SftSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import channels, origins, paths, secrets
from runyard.services.context import Context

UPLOADED = "dataset:"
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
HUB_DATA = re.compile(rf"{HUB_NAME.pattern}(:[\w.-]+)?", re.ASCII)
DATA_ENDINGS = (".jsonl", ".csv", ".parquet")
WEIGHTS = (".safetensors", ".gguf")
"""What can be loaded and runs nothing by being loaded."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MODEL_ENDINGS = (*WEIGHTS, *PICKLED)


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


async def resolve(database: Database, spec: Spec, owner: Owner, context: Context) -> Resolved:
    """Find what a spec names, as far as its owner may.

    Raises InvalidError with one problem for each field that names nothing usable, and ForbiddenError for a script of
    a tenant that may run none.
    """
    if isinstance(spec, ScriptSpec):
        require_scripts(owner)
        problems = commands.missing(spec)  # whoever may run a program may read any file with it
        if spec.secrets or spec.notify:
            async with database.read(tenant=owner.tenant) as session:
                problems += await secrets.missing(session, spec, owner.tenant)
                problems += await channels.missing(session, spec.notify, owner)
        require(problems)
        return Resolved(spec)
    async with database.read(tenant=owner.tenant) as session:
        return await _resolve(session, spec, owner, context)


def require_scripts(owner: Owner) -> None:
    """Raise ForbiddenError unless its tenant may run them."""
    if not owner.scripts:
        raise ForbiddenError(
            f"the tenant {owner.tenant!r} may not run scripts on this server",
            hint="a script can read whatever the server can, so an operator has to allow it: "
            f"`runyard tenants change {owner.tenant} --scripts`",
        )


def require_trust(asked: Mapping[str, Any], context: Context) -> None:
    """Raise InvalidError when a job, given as it was asked for, would run a model's own code that may not be run."""
    model = asked.get("model")
    if isinstance(model, Mapping) and model.get("trust_remote_code"):
        try:
            _require_trust(ModelSpec.model_validate(model), context.trusted_models)
        except _RefusedError as refusal:
            require([Problem(field="model.name", message=str(refusal))])


def require(problems: list[Problem]) -> None:
    if problems:
        raise InvalidError("the job names things that this server can't use", problems=problems)


async def _resolve(session: Session, spec: SftSpec | DpoSpec, owner: Owner, context: Context) -> Resolved:
    problems = await channels.missing(session, spec.notify, owner)
    data: list[Data] = []
    model = spec.model.name
    try:
        model = find_model(spec.model, context)
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


def find_model(model: ModelSpec, context: Context) -> str:
    """The absolute path of a model in reach, or a hub name as it is. Raises _RefusedError."""
    _require_trust(model, context.trusted_models)
    name, folder = model.name, context.models
    path = _in_reach(folder / name, context, folder)
    if path is not None and path != folder.resolve() and path.exists():
        _require_weights(path, context)
        return str(path)
    if _is_hub_name(name, HUB_NAME) and not os.path.lexists(folder / name):
        return name
    known = sorted(path.name for path in folder.glob("[!.]*")) if folder.is_dir() else []
    raise _RefusedError(
        f"{_quoted(name)} is no model that this server may read: name a hub model (owner/name), or a file or folder in "
        f"its folder of models (it holds: {', '.join(known[:10]) or 'nothing'}); `runyard serve --allow-path FOLDER` "
        "opens another folder"
    )


def _require_trust(model: ModelSpec, trusted: Collection[str]) -> None:
    """A model that brings its own code runs it with all the rights of its trainer."""
    at = f"@{model.revision}" if model.revision else ""
    if model.trust_remote_code and not {model.name, model.name + at} & set(trusted):
        raise _RefusedError(
            f"the code of {_quoted(model.name + at)} may not be run on this server: an operator allows it by "
            "RUNYARD_TRUSTED_MODELS=owner/name@commit, once somebody has read it; or leave model.trust_remote_code out"
        )


def _require_weights(path: Path, context: Context) -> None:
    """Raises _RefusedError for what would run code by being loaded, or has files that lie elsewhere."""
    try:
        files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    except OSError as error:
        raise _RefusedError(f"{_quoted(path.name)} can't be read: {error.strerror}") from None
    if not all(_in_reach(file, context, context.models) for file in files):
        raise _RefusedError(f"{_quoted(path.name)} has links that lead out of the folders that jobs may read")
    endings = {file.suffix.lower() for file in files}
    if endings & set(PICKLED) and not endings & set(WEIGHTS):
        raise _RefusedError(
            f"{_quoted(path.name)} has its weights in pickle files, which run code by being loaded: convert it to "
            "safetensors, with save_pretrained(FOLDER) where it is trusted"
        )


async def _find_data(session: Session, field: str, name: str, context: Context) -> Data:
    if name.startswith(UPLOADED):
        upload = await _find_upload(session, name.removeprefix(UPLOADED))
        return Data(field, str(context.home / upload.path), upload)
    path = _in_reach(Path(name), context) if name.startswith("/") else None
    if path is not None and path.is_file():
        if path.suffix.lower() not in DATA_ENDINGS:
            raise _RefusedError(f"{_quoted(name)} must end in {', '.join(DATA_ENDINGS)}")
        return Data(field, str(path))
    if _is_hub_name(name, HUB_DATA):
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


def _is_hub_name(name: str, pattern: re.Pattern[str]) -> bool:
    """A file's name is none."""
    is_file = name.lower().endswith((*DATA_ENDINGS, *MODEL_ENDINGS))
    return bool(pattern.fullmatch(name)) and not is_file and ".." not in name


def _in_reach(path: Path, context: Context, *folders: Path) -> Path | None:
    """The path, links followed, if it lies in one of the folders or under an allowed path; whether it exists is not
    told.

    The data folder holds what is other tenants', too: no root above it, or above a part of it, opens that.
    """
    roots = [root.resolve() for root in (*folders, *context.allowed_paths)]
    home = context.home.resolve()
    try:
        path = path.resolve()
        path.exists()
    except paths.UNUSABLE:
        return None
    for private in (home, *(part.resolve() for part in (context.runs, context.datasets, context.cache))):
        if path.is_relative_to(private):
            roots = [root for root in roots if root != home and root.is_relative_to(private)]
    return path if any(path.is_relative_to(root) for root in roots) else None


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:100]}…")
