"""Templates: save, list, show, delete, fill in, submit."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem
from runyard.schemas.jobs import ChangeRead, JobDetail
from runyard.schemas.page import Page
from runyard.schemas.templates import (
    LARGEST_VERSION,
    DifferenceRead,
    FilledRead,
    TemplateAsk,
    TemplateDetail,
    TemplateRead,
    TemplateSubmit,
    TemplateValues,
)
from runyard.server.api import failing
from runyard.server.api.jobs import Asked, Key, accept, made_before
from runyard.server.deps import Cursor, Limit, ToSee, ToSubmit, new_id
from runyard.services import jobs, submissions, templates
from runyard.services.templates import Saving

router = APIRouter(tags=["templates"])
SOURCES = ("spec", "yaml", "job_id")


@router.post(
    "/templates",
    status_code=201,
    operation_id="save_template",
    responses={
        200: {"description": "The newest version, which is the very same", "model": TemplateDetail},
        **failing(400, 404, 409, 413, 415),
    },
)
async def save(desk: ToSubmit, response: Response, ask: TemplateAsk) -> TemplateDetail:
    """Save a job with places to fill in, or the next version of one."""
    saving = _saving(ask)
    async with desk.write(ask.name, {"job_id": ask.job_id} if ask.job_id else None) as session:
        template, created = await templates.save(session, saving, desk.caller, new_id(), desk.yard.clock())
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/api/v1/templates/{quote(template.name)}?version={template.version}"
    return TemplateDetail.model_validate(template)


@router.get("/templates", operation_id="list_templates")
async def list_(desk: ToSee, cursor: Cursor = None, limit: Limit = 50) -> Page[TemplateRead]:
    """The newest version of each, those that were saved last before the others."""
    async with desk.read() as session:
        found, following = await templates.page(session, cursor, limit)
    return Page(items=[TemplateRead.model_validate(item) for item in found], next_cursor=following)


@router.get("/templates/{name}", operation_id="get_template", responses=failing(404))
async def show(
    desk: ToSee,
    name: str,
    version: Annotated[int | None, Query(ge=1, le=LARGEST_VERSION, description="The newest unless set.")] = None,
) -> TemplateDetail:
    """One with its spec and its variables."""
    async with desk.read() as session:
        return TemplateDetail.model_validate(await templates.get(session, name, version))


@router.get("/templates/{name}/versions", operation_id="list_template_versions", responses=failing(404))
async def versions(desk: ToSee, name: str, cursor: Cursor = None, limit: Limit = 50) -> Page[TemplateRead]:
    """Newest first."""
    async with desk.read() as session:
        found, following = await templates.versions(session, name, cursor, limit)
    return Page(items=[TemplateRead.model_validate(item) for item in found], next_cursor=following)


@router.delete("/templates/{name}", status_code=204, operation_id="delete_template", responses=failing(404))
async def delete(desk: ToSubmit, name: str) -> None:
    """Delete every version. Jobs that were made of it stay."""
    async with desk.write(name) as session:
        await templates.remove(session, name, desk.caller)


@router.post("/templates/{name}/spec", operation_id="fill_template", responses=failing(400, 404, 413, 415))
async def fill(desk: ToSee, name: str, ask: TemplateValues) -> FilledRead:
    """The job that it becomes with these values, checked as far as it tells by itself; nothing is submitted."""
    async with desk.read() as session:
        template = await templates.get(session, name, ask.version)
    spec = submissions.as_asked(templates.filled(template, ask.values))
    return FilledRead(name=template.name, version=template.version, spec=spec)


@router.post(
    "/templates/{name}/jobs",
    status_code=201,
    operation_id="submit_template",
    responses={
        200: {"description": "Made earlier with this key", "model": JobDetail},
        **failing(400, 404, 409, 413, 415, 429, 507),
    },
)
async def submit(desk: ToSubmit, response: Response, name: str, ask: TemplateSubmit, key: Key = None) -> JobDetail:
    """Put the job that it becomes in the queue; it keeps in mind from which version it was made."""
    request = _request(name, ask)
    if known := await made_before(desk, response, request, key):
        return known
    async with desk.read() as session:
        template = await templates.get(session, name, ask.version)
    spec = templates.filled(template, ask.values) if ask.spec is None else ask.spec
    return await accept(desk, response, Asked(spec, key, templates.reference(template), request))


@router.get("/jobs/{job_id}/template", operation_id="get_job_template", responses=failing(404))
async def difference(desk: ToSee, job_id: str) -> DifferenceRead:
    """From which template a job was made, and in which fields it is another."""
    async with desk.read() as session:
        found = await templates.difference(session, await jobs.get(session, job_id))
    shown = [ChangeRead(field=one.field, before=one.before, after=one.after) for one in found.changes or ()]
    return DifferenceRead(name=found.name, version=found.version, changes=None if found.changes is None else shown)


def _request(name: str, ask: TemplateSubmit) -> dict[str, Any]:
    asked = ask.model_dump(mode="json", exclude_unset=True)
    return {"template": name, **asked, "spec": ask.spec and submissions.as_asked(ask.spec)}


def _saving(ask: TemplateAsk) -> Saving:
    if sum(getattr(ask, source) is not None for source in SOURCES) != 1:
        raise _refused("spec", f"give one of {', '.join(SOURCES)}")
    fields = {name: variable.field for name, variable in ask.variables.items() if variable.field is not None}
    if fields and ask.job_id is None:
        raise _refused(f"variables.{next(iter(fields))}.field", "is for templates that are saved from a job")
    descriptions = {
        name: variable.description for name, variable in ask.variables.items() if variable.description is not None
    }
    spec = ask.spec if ask.yaml is None else templates.parsed(ask.yaml)
    return Saving(ask.name, spec, ask.job_id, ask.description, descriptions, fields)


def _refused(field: str, message: str) -> InvalidError:
    return InvalidError("the template can't be used", problems=[Problem(field=field, message=message)])
