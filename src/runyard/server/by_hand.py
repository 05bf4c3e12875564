"""Accounts without a server: whoever owns the data folder makes the first one, and gets back in."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from runyard.db.database import Session
from runyard.domain.access import LOCAL
from runyard.domain.errors import InvalidError
from runyard.protocol.problems import problems
from runyard.schemas.people import UserChange, UserNew, UserRead
from runyard.server import people
from runyard.services import accounts, audit

Shape = TypeVar("Shape", bound=BaseModel)
WHERE: dict[str, Any] = {"where": "in the data folder"}
"""Tells the audit log that no server was asked."""


async def create_user(session: Session, fields: Mapping[str, object], at: float) -> UserRead:
    """`fields` are those of UserNew. Raises what `accounts.create` does."""
    ask = _asked(UserNew, fields)
    details = dict(WHERE)
    made = await people.create(session, LOCAL, ask, await people.wanted(ask), at, details)
    await audit.note(session, LOCAL, "create_user", at, made.name, details)
    return UserRead.model_validate(made)


async def change_user(session: Session, name: str, fields: Mapping[str, object], at: float) -> UserRead:
    """`fields` are those of UserChange. Raises what `accounts.change` does."""
    ask = _asked(UserChange, fields)
    changed = await accounts.change(session, LOCAL, name, await people.wanted(ask))
    await audit.note(session, LOCAL, "change_user", at, changed.name, {**people.changes(ask), **WHERE})
    return UserRead.model_validate(changed)


def _asked(shape: type[Shape], fields: Mapping[str, object]) -> Shape:
    try:
        return shape.model_validate(fields)
    except ValidationError as error:
        found = problems(error.errors(include_url=False))
        raise InvalidError("the account can't be so", problems=found) from None
