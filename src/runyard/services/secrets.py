"""Secrets of tenants: kept sealed, shown to nobody, given to the trainers of jobs that name them."""

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from runyard.db.database import Session
from runyard.db.queries import secrets as queries
from runyard.db.tables import Job, Secret
from runyard.domain.access import Caller
from runyard.domain.errors import InUseError, InvalidError, NotFoundError, NotReadyError
from runyard.domain.masks import SHORTEST, Mask
from runyard.protocol.problems import Problem
from runyard.protocol.rundir import RunDir, write_atomically
from runyard.protocol.specs.script import SECRET_NAME, ScriptSpec
from runyard.services import paths, sealing
from runyard.services.context import Context
from runyard.services.sealing import SealError

HUB_TOKEN = "HF_TOKEN"
NO_LOGIN = {"HF_TOKEN_PATH": os.devnull}
"""Who has signed in to the hub as the server's user is none but the first tenant."""
MOST = 100
"""Of one tenant."""


class UnusableError(Exception):
    """A job can't be given its secrets; the message says why, and what to do."""


async def list_(session: Session, caller: Caller) -> Sequence[Secret]:
    return await queries.of_tenant(session, caller.tenant)


async def set_(session: Session, caller: Caller, name: str, value: str, context: Context, at: float) -> Secret:
    """A new one, or another value for one that is there. Raises InvalidError, InUseError, NotReadyError."""
    _require_usable(name, value)
    known = {secret.name for secret in await queries.of_tenant(session, caller.tenant)}
    if name not in known and len(known) >= MOST:
        raise InUseError(f"the tenant has {MOST} secrets", hint="remove one that no job needs any more")
    try:
        sealed = sealing.seal(context.private_key, value, "secret", caller.tenant, name)
    except SealError as error:
        raise NotReadyError(f"the secret can't be sealed: {error}", hint="put the whole file back") from None
    secret = Secret(tenant=caller.tenant, name=name, sealed=sealed, user=caller.user, changed_at=at)
    await queries.put(session, secret)
    return secret


async def remove(session: Session, caller: Caller, name: str) -> None:
    """What was given to jobs stays theirs. Raises NotFoundError."""
    secret = await queries.get(session, caller.tenant, name)
    if secret is None:
        hint = "`runyard secrets list` shows which there are"
        raise NotFoundError(f"there is no secret {name[:100]!r}", hint=hint)
    await queries.remove(session, secret)


async def missing(session: Session, script: ScriptSpec, tenant: str) -> list[Problem]:
    """What a script names and the tenant has not."""
    known = await queries.named(session, tenant, set(script.secrets.values()))
    return [
        Problem(field=f"env.{variable}", message=f"there is no secret {name}: set it with `runyard secrets set {name}`")
        for variable, name in script.secrets.items()
        if name not in known
    ]


async def given(session: Session, job: Job, wanted: Mapping[str, str], context: Context) -> dict[str, str]:
    """What a job's trainer gets into its environment: the value of each variable.

    `wanted` has the names of secrets by variable. A language job gets the hub's token, if the tenant has one.
    Raises UnusableError.
    """
    is_script = job.kind == "script"
    names = {**wanted} if is_script else {HUB_TOKEN: HUB_TOKEN}
    known = await queries.named(session, job.tenant, set(names.values()))
    found = {}
    for variable, name in names.items():
        if name in known:
            found[variable] = _opened(known[name], job.tenant, name, context)
        elif is_script:
            raise UnusableError(
                f"env.{variable} names the secret {name}, which is not there any more: set it with "
                f"`runyard secrets set {name}`, then retry the job"
            )
    return found


def note_given(rundir: RunDir, values: Collection[str], context: Context) -> None:
    """Keep, sealed, what a run must not show from now on, whatever becomes of the secrets themselves."""
    with suppress(SealError):  # what was noted before stays as it is, and nothing is shown
        if set(values) <= set(_noted(rundir, context)):
            return
    sealed = sealing.seal(context.private_key, json.dumps(sorted(values)), "run", rundir.root.name)
    write_atomically(rundir.secrets, b"\n".join([*_notes(rundir), b64encode(sealed)]) + b"\n")


def mask(rundir: RunDir, context: Context) -> Mask:
    """What is covered in all that a run has written. Where that can't be known any more, it is everything."""
    try:
        return Mask.of(_noted(rundir, context))
    except SealError:
        return Mask(everything=True)


def require_mask(rundir: RunDir, context: Context) -> Mask:
    """The same for a person, who is told. Raises NotReadyError."""
    if (found := mask(rundir, context)).everything:
        raise NotReadyError(
            f"what job {rundir.root.name} must not show was sealed with another key",
            hint="put the secret.key of that time back into the server's data folder",
        )
    return found


def _noted(rundir: RunDir, context: Context) -> Iterable[str]:
    """Raises SealError."""
    texts = (sealing.unseal(context.private_key, b64decode(line), "run", rundir.root.name) for line in _notes(rundir))
    try:
        return [value for text in texts for value in json.loads(text)]
    except ValueError as error:
        raise SealError(f"{rundir.secrets.name} can't be read: {error}") from None


def _notes(rundir: RunDir) -> list[bytes]:
    """A sealed line for each time that something was given."""
    try:
        with paths.opened(rundir.root, rundir.secrets.name) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _opened(sealed: bytes, tenant: str, name: str, context: Context) -> str:
    try:
        return sealing.unseal(context.private_key, sealed, "secret", tenant, name)
    except SealError as error:
        raise UnusableError(
            f"the secret {name} can't be opened: {error}; set it again with `runyard secrets set {name}`, or put the "
            "secret.key back that it was sealed with, then retry the job"
        ) from None


def _require_usable(name: str, value: str) -> None:
    problems = []
    if not re.fullmatch(SECRET_NAME, name):
        message = "must be a name such as HF_TOKEN: capital letters, digits and _, 64 at most"
        problems.append(Problem(field="name", message=message))
    if len(value.strip()) < SHORTEST:
        problems.append(
            Problem(field="value", message=f"must have {SHORTEST} characters or more: it would be found everywhere")
        )
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        problems.append(Problem(field="value", message="must be text that an environment variable can hold"))
    if problems:
        raise InvalidError("the secret can't be kept", problems=problems)
