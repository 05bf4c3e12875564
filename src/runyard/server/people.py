"""Accounts as they are asked for, by whichever way: by a person who is signed in, by the set-up link, or in the data
folder itself."""

from dataclasses import replace
from typing import Any

from runyard.db.database import Session
from runyard.db.tables import User
from runyard.domain.access import Caller
from runyard.schemas.people import UserChange, UserNew
from runyard.services import accounts, audit, passwords, sessions
from runyard.services.accounts import Asked


async def wanted(ask: UserNew | UserChange) -> Asked:
    """With the password as it is kept, which takes a while to find: not for the middle of a transaction."""
    kept = await passwords.hashed(ask.password) if ask.password else None
    enabled = ask.enabled if isinstance(ask, UserChange) else None
    return Asked(role=ask.role, operator=ask.operator, enabled=enabled, subject=ask.subject, password=kept)


async def create(
    session: Session, caller: Caller, ask: UserNew, asked: Asked, at: float, details: dict[str, Any]
) -> User:
    """A new account; `details` takes what the audit log tells of it. Raises what `accounts.create` does."""
    details["tenant"] = ask.tenant or caller.tenant
    made = await accounts.create(session, caller, ask.name, details["tenant"], asked, at)
    details |= {"role": made.role, "operator": made.operator}
    return made


def changes(ask: UserChange) -> dict[str, Any]:
    """What the audit log tells of them: of a password only that there is a new one."""
    told = ask.model_dump(exclude_unset=True, exclude={"password"}, mode="json")
    return {**told, "password": bool(ask.password)}


async def enter(session: Session, name: str, address: str, now: float) -> tuple[Caller, str]:
    """Begin a session for a browser, of somebody who has shown who it is; the token for its cookie."""
    token = await sessions.begin(session, name, address, now)
    found = await sessions.caller(session, token, now)
    assert found is not None, "it has just begun"
    await audit.note(session, replace(found, address=address), "sign_in", now, name)
    return found, token
