"""Accounts."""

from fastapi import APIRouter, Response

from runyard.schemas.page import Page
from runyard.schemas.people import UserChange, UserNew, UserRead
from runyard.server import people
from runyard.server.api import failing
from runyard.server.deps import ToManage, ToSee
from runyard.services import accounts

router = APIRouter(prefix="/users", tags=["people"])


@router.get("", operation_id="list_users")
async def list_(desk: ToSee) -> Page[UserRead]:
    """Everybody in the tenant; an operator sees those of all tenants."""
    async with desk.read(widely=True) as session:
        return Page(items=[UserRead.model_validate(user) for user in await accounts.list_(session)])


@router.post("", status_code=201, operation_id="create_user", responses=failing(400, 404, 409, 413, 415))
async def create(desk: ToManage, response: Response, ask: UserNew) -> UserRead:
    """A new account."""
    asked = await people.wanted(ask)
    details: dict[str, object] = {}
    async with desk.write(accounts.fold(ask.name), details, widely=True) as session:
        user = await people.create(session, desk.caller, ask, asked, desk.yard.clock(), details)
    desk.access_changed()
    response.headers["Location"] = f"/api/v1/users/{user.name}"
    return UserRead.model_validate(user)


@router.get("/{name}", operation_id="get_user", responses=failing(404))
async def show(desk: ToSee, name: str) -> UserRead:
    async with desk.read(widely=True) as session:
        return UserRead.model_validate(await accounts.get(session, name))


@router.patch("/{name}", operation_id="change_user", responses=failing(400, 404, 409, 413, 415))
async def change(desk: ToManage, name: str, ask: UserChange) -> UserRead:
    """Change what an account may do, or its password; both count at once, for open feeds too."""
    asked = await people.wanted(ask)
    async with desk.write(accounts.fold(name), people.changes(ask), widely=True) as session:
        user = await accounts.change(session, desk.caller, name, asked)
    desk.access_changed()
    return UserRead.model_validate(user)
