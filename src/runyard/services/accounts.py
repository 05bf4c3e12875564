"""Accounts: who there is, whose tenant they are in, what they may do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.db.database import Session
from runyard.db.queries import access, sessions, tenants, users
from runyard.db.queries.users import Known
from runyard.db.tables import User
from runyard.domain.access import LOCAL_USER, Act, Caller, Owner, Role, may_appoint
from runyard.domain.errors import ForbiddenError, InUseError, InvalidError, NotFoundError
from runyard.protocol.problems import Problem

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}(@[a-z0-9][a-z0-9.-]{0,63})?")
LONGEST_SUBJECT = 255


@dataclass(frozen=True)
class Asked:
    """What is to be so; None leaves it as it is. `password` is what is kept of it."""

    role: Role | None = None
    operator: bool | None = None
    enabled: bool | None = None
    subject: str | None = None
    password: str | None = None


async def exist(session: Session) -> bool:
    """Are there accounts? Without any, whoever reaches the server may do everything."""
    return await users.exist(session, LOCAL_USER)


async def get(session: Session, name: str) -> User:
    """Raises NotFoundError."""
    if user := await users.get(session, fold(name)):
        return user
    raise NotFoundError(f"there is no user {name[:100]!r}", hint="`runyard users list` shows who there is")


async def list_(session: Session) -> Sequence[User]:
    """Those who can sign in, and those who could: the local user is nobody's account."""
    return [user for user in await users.all_(session) if user.name != LOCAL_USER]


async def create(session: Session, caller: Caller, name: str, tenant: str, asked: Asked, at: float) -> User:
    """A new account; the first one operates the installation, as nobody else could.

    Raises InvalidError, NotFoundError, ForbiddenError and InUseError.
    """
    if not await exist(session):
        asked = replace(asked, role=Role.ADMIN, operator=True)
    role = asked.role or Role.MEMBER
    _require_appointment(caller, role, operator=bool(asked.operator) or tenant != caller.tenant)
    if not NAME.fullmatch(fold(name)):
        message = "must be a name such as anna or anna@example.org: small letters, digits, and . _ + -"
        raise InvalidError("the account can't be made", problems=[Problem(field="name", message=message)])
    if await tenants.get(session, tenant) is None:
        raise NotFoundError(f"there is no tenant {tenant[:100]!r}", hint="`runyard tenants list` shows which there are")
    if await _is_taken(session, fold(name)):
        raise InUseError(f"the name {name!r} is taken", hint="choose another; names are never given twice")
    user = User(name=fold(name), tenant=tenant, role=role, operator=bool(asked.operator), created_at=at, enabled=True)
    user.password = asked.password
    await _give_subject(session, user, asked.subject)
    await users.add(session, user)
    await access.changed(session)
    return user


async def change(session: Session, caller: Caller, name: str, asked: Asked) -> User:
    """Raises NotFoundError, ForbiddenError, InvalidError, and InUseError where nobody could operate any more."""
    user = await get(session, name)
    if user.name == LOCAL_USER:
        raise ForbiddenError("the local user is nobody's account", hint="make one with `runyard users create NAME`")
    _require_appointment(caller, Role(user.role), operator=user.operator)
    if asked.role is not None or asked.operator is not None:
        _require_appointment(caller, asked.role or Role(user.role), operator=bool(asked.operator))
    is_to_operate = user.operator if asked.operator is None else asked.operator
    is_to_be_enabled = user.enabled if asked.enabled is None else asked.enabled
    if user.operator and not (is_to_operate and is_to_be_enabled):
        await _require_another_operator(session, user.name)
    user.role = asked.role or user.role
    user.operator, user.enabled = is_to_operate, is_to_be_enabled
    await _give_subject(session, user, asked.subject)
    if asked.password is not None:
        user.password = asked.password
    if asked.password is not None or not user.enabled:
        await sessions.end_all(session, user.name)
    await access.changed(session)
    return user


async def change_password(session: Session, caller: Caller, kept: str) -> None:
    """One's own; all one's other sessions end."""
    user = await get(session, caller.user)
    user.password = kept
    await sessions.end_all(session, user.name, but=caller.credential if caller.via == "session" else None)
    await access.changed(session)


async def owner(session: Session, name: str) -> Owner:
    """For whom something is done in absence. Raises ForbiddenError when that is no longer allowed."""
    known = await users.known(session, name)
    if known is None or not as_caller(known).may(Act.SUBMIT):
        raise ForbiddenError(f"{name} may submit nothing any more", hint="let somebody else add it again")
    return Owner(known.user.name, known.user.tenant, known.scripts)


def as_caller(known: Known) -> Caller:
    """With all that the account may do."""
    user = known.user
    return Caller(user.name, user.tenant, known.scripts, Role(user.role), user.operator)


def fold(name: str) -> str:
    return name.strip().lower()


def _require_appointment(caller: Caller, role: Role, *, operator: bool) -> None:
    if not may_appoint(caller, role, operator=operator):
        hint = "it takes an operator" if operator else "it takes an admin of the tenant"
        raise ForbiddenError(f"{caller.user} may not decide about this account", hint=hint)


async def _require_another_operator(session: Session, name: str) -> None:
    """One who can sign in: the local user can't, once there are accounts."""
    if not await users.operators(session, (name, LOCAL_USER)):
        raise InUseError("the installation needs an operator", hint="make somebody else one before")


async def _is_taken(session: Session, name: str) -> bool:
    return name == LOCAL_USER or await users.get(session, name) is not None


async def _give_subject(session: Session, user: User, subject: str | None) -> None:
    """Who it is for the outside issuer; an empty one takes that away."""
    if subject is None:
        return
    if len(subject) > LONGEST_SUBJECT:
        problem = Problem(field="subject", message=f"must have {LONGEST_SUBJECT} characters at most")
        raise InvalidError("the account can't be used so", problems=[problem])
    if subject and await users.with_subject(session, subject) not in (None, user.name):
        raise InUseError("another account has this subject", hint="take it away from that one first")
    user.subject = subject or None
