"""Tenants: for operators."""

from fastapi import APIRouter, Response

from runyard.schemas.page import Page
from runyard.schemas.people import TenantChange, TenantNew, TenantRead
from runyard.server.api import failing
from runyard.server.deps import ToOperate
from runyard.services import tenants

router = APIRouter(prefix="/tenants", tags=["people"])


@router.get("", operation_id="list_tenants")
async def list_(desk: ToOperate) -> Page[TenantRead]:
    async with desk.read() as session:
        return Page(items=[TenantRead.model_validate(tenant) for tenant in await tenants.list_(session)])


@router.post("", status_code=201, operation_id="create_tenant", responses=failing(400, 409, 413, 415))
async def create(desk: ToOperate, response: Response, ask: TenantNew) -> TenantRead:
    """A new tenant, with nobody in it yet."""
    async with desk.write(ask.name, {"scripts": ask.scripts}) as session:
        tenant = await tenants.create(session, ask.name, scripts=ask.scripts, at=desk.yard.clock())
    response.headers["Location"] = f"/api/v1/tenants/{tenant.name}"
    return TenantRead.model_validate(tenant)


@router.get("/{name}", operation_id="get_tenant", responses=failing(404))
async def show(desk: ToOperate, name: str) -> TenantRead:
    async with desk.read() as session:
        return TenantRead.model_validate(await tenants.get(session, name))


@router.patch("/{name}", operation_id="change_tenant", responses=failing(400, 404, 413, 415))
async def change(desk: ToOperate, name: str, ask: TenantChange) -> TenantRead:
    async with desk.write(name, {"scripts": ask.scripts}) as session:
        tenant = await tenants.change(session, name, scripts=ask.scripts)
    desk.access_changed()
    return TenantRead.model_validate(tenant)
