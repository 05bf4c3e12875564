"""Secrets: set and removed by admins, named by jobs, shown to nobody."""

from fastapi import APIRouter

from runyard.schemas.page import Page
from runyard.schemas.people import SecretPut, SecretRead
from runyard.server.api import failing
from runyard.server.deps import ToManage, ToSee
from runyard.services import secrets

router = APIRouter(prefix="/secrets", tags=["people"])


@router.get("", operation_id="list_secrets")
async def list_(desk: ToSee) -> Page[SecretRead]:
    """Names, by the alphabet; the values are never shown."""
    async with desk.read() as session:
        found = await secrets.list_(session, desk.caller)
    return Page(items=[SecretRead.model_validate(secret) for secret in found])


@router.put("/{name}", operation_id="set_secret", responses=failing(400, 409, 413, 415))
async def set_(desk: ToManage, name: str, ask: SecretPut) -> SecretRead:
    """For jobs of the tenant that are started from now on: in the `env` of a script as `secret:NAME`."""
    yard = desk.yard
    async with desk.write(name) as session:
        secret = await secrets.set_(session, desk.caller, name, ask.value, yard.context, yard.clock())
    return SecretRead.model_validate(secret)


@router.delete("/{name}", status_code=204, operation_id="remove_secret", responses=failing(404))
async def remove(desk: ToManage, name: str) -> None:
    """Jobs that name it can't be started any more."""
    async with desk.write(name) as session:
        await secrets.remove(session, desk.caller, name)
