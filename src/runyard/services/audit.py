"""The audit log: who did what to what, when, from where."""

from collections.abc import Mapping, Sequence
from typing import Any

from runyard.db.database import Session
from runyard.db.queries import audit as queries
from runyard.db.queries.audit import Filter
from runyard.db.tables import AuditEntry
from runyard.domain.access import Caller
from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem

LONGEST = 200


async def note(
    session: Session,
    caller: Caller,
    action: str,
    at: float,
    target: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """What a caller does, in the transaction that does it. Details hold no secret."""
    await queries.add_all(session, [entry(caller, action, at, target, details)])


async def note_all(session: Session, entries: Sequence[Mapping[str, Any]]) -> None:
    """As `entry` gives them."""
    await queries.add_all(session, [dict(one) for one in entries])


def entry(
    caller: Caller, action: str, at: float, target: str | None = None, details: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a caller does; `refused` is to be set for what was not done."""
    return {
        "at": at,
        **{name: getattr(caller, name) for name in ("tenant", "user", "via", "credential", "address")},
        "action": action,
        "target": target[:LONGEST] if target else None,
        "refused": None,
        "details": dict(details or {}),
    }


def of_stranger(address: str, tenant: str | None, action: str, at: float, target: str) -> dict[str, Any]:
    """The same where nobody is signed in; `tenant` is whose the target is."""
    entry: dict[str, Any] = dict.fromkeys(("user", "via", "credential", "refused"))
    return entry | {
        "at": at,
        "tenant": tenant,
        "address": address,
        "action": action,
        "target": target[:LONGEST],
        "details": {},
    }


async def page(
    session: Session, wanted: Filter, cursor: str | None, limit: int
) -> tuple[Sequence[AuditEntry], str | None]:
    """Newest first. Raises InvalidError for a cursor that no page gave."""
    if cursor is not None and not (cursor.isdigit() and len(cursor) < 19):
        problem = Problem(field="cursor", message="is not one of ours: take `next_cursor` of the page before")
        raise InvalidError("the request can't be used", problems=[problem])
    found = await queries.page(session, wanted, int(cursor) if cursor else None, limit + 1)
    return found[:limit], str(found[limit - 1].id) if len(found) > limit else None
