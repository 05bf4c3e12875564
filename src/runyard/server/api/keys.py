"""Keys for programs."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from runyard.schemas.page import Page
from runyard.schemas.people import KeyMade, KeyNew, KeyRead
from runyard.server.api import failing
from runyard.server.deps import ToSee, new_id
from runyard.services import keys

router = APIRouter(prefix="/keys", tags=["people"])

DAY = 86400.0


@router.get("", operation_id="list_keys")
async def list_(
    desk: ToSee, everybodys: Annotated[bool, Query(alias="all", description="The whole tenant's; for admins.")] = False
) -> Page[KeyRead]:
    """One's own keys, newest first, those that were revoked among them."""
    async with desk.read() as session:
        found = await keys.list_(session, desk.caller, everybodys=everybodys)
    return Page(items=[KeyRead.model_validate(key) for key in found])


@router.post("", status_code=201, operation_id="create_key", responses=failing(400, 409, 413, 415))
async def create(desk: ToSee, response: Response, ask: KeyNew) -> KeyMade:
    """A new key of one's own. Its text is in this answer and nowhere else."""
    now, key_id = desk.yard.clock(), new_id()
    expires_at = None if ask.expires_in_days is None else now + ask.expires_in_days * DAY
    asked = keys.Asked(ask.name, ask.scope, expires_at)
    async with desk.write(key_id, {"name": ask.name, "scope": ask.scope, "expires_at": expires_at}) as session:
        key, text = await keys.create(session, desk.caller, asked, key_id, now)
    response.headers["Location"] = f"/api/v1/keys/{key.id}"
    return KeyMade(**KeyRead.model_validate(key).model_dump(), key=text)


@router.delete("/{key_id}", operation_id="revoke_key", responses=failing(404))
async def revoke(desk: ToSee, key_id: str) -> KeyRead:
    """From now on it opens nothing; feeds that were opened with it end."""
    async with desk.write(key_id) as session:
        key = await keys.revoke(session, desk.caller, key_id, desk.yard.clock())
    desk.access_changed()
    return KeyRead.model_validate(key)
