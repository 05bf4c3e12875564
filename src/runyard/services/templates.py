"""Templates of a tenant: saved in versions that stay as they are, filled in to jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from runyard.db.database import Session
from runyard.db.queries import templates as queries
from runyard.db.tables import Job, Template
from runyard.domain import templates as rules
from runyard.domain import yamlfile
from runyard.domain.access import Caller
from runyard.domain.cures import Change
from runyard.domain.errors import InUseError, InvalidError, NotFoundError
from runyard.domain.templates import Variable
from runyard.protocol.problems import Problem, spec_problems
from runyard.protocol.specs import Spec, job_spec
from runyard.services import jobs, pages, submissions

MOST = 500
"""Of one tenant."""
MOST_VERSIONS = 1000
LONGEST_NAME = 100


@dataclass(frozen=True)
class Saving:
    """What is to be saved under a name: a job's spec, with some of its fields made variables, or one as it is.

    What is None, or a variable that has no description here, stays as the version before has it.
    """

    name: str
    spec: Mapping[str, Any] | None = None
    job_id: str | None = None
    description: str | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of a job, by variable."""


@dataclass(frozen=True)
class Difference:
    name: str
    version: int
    changes: Sequence[Change] | None
    """None when it was deleted."""


def parsed(yaml: str) -> Mapping[str, Any]:
    """The spec in a text. Raises InvalidError that names the line."""
    try:
        value = yamlfile.parse(yaml).value
    except yamlfile.YamlError as error:
        problem = Problem(field="yaml", line=error.line, message=error.message)
        raise InvalidError("the template is not YAML", problems=[problem]) from None
    if not isinstance(value, Mapping):
        raise InvalidError("the template is no job", problems=[Problem(field="yaml", message="holds no fields")])
    return {name: part for name, part in value.items() if part is not None}  # a section that is all comments


async def save(session: Session, saving: Saving, caller: Caller, template_id: str, at: float) -> tuple[Template, bool]:
    """The next version; False with the newest when it is the very same.

    Raises InvalidError, NotFoundError for a job that is not there, ForbiddenError for a name that is another's, and
    InUseError where there are too many.
    """
    before = await queries.get(session, saving.name)
    if before is not None:
        caller.require_change(before.user, f"the template {before.name!r}")
    spec = await _spec(session, saving)
    found = _described(rules.variables(spec), saving, before)
    _require_usable(spec, found)
    description = before.description if before and saving.description is None else saving.description or None
    content = {"spec": spec, "variables": [asdict(variable) for variable in found], "description": description}
    if before is not None and content == {name: getattr(before, name) for name in content}:
        return before, False
    await _require_room(session, before)
    template = Template(
        id=template_id,
        tenant=caller.tenant,
        name=saving.name,
        version=before.version + 1 if before else 1,
        user=before.user if before else caller.user,
        saved_by=caller.user,
        kind=spec["kind"],
        job_id=saving.job_id,
        created_at=at,
        **content,
    )
    await queries.add(session, template)
    return template, True


async def get(session: Session, name: str, version: int | None = None) -> Template:
    """The newest version unless one is named. Raises NotFoundError."""
    if template := await queries.get(session, name, version):
        return template
    which = f"no version {version} of the template" if version and await queries.get(session, name) else "no template"
    raise NotFoundError(
        f"there is {which} {name[:LONGEST_NAME]!r}", hint="`runyard templates list` shows what there is"
    )


async def page(session: Session, cursor: str | None, limit: int) -> tuple[Sequence[Template], str | None]:
    """The newest version of each, without their specs."""
    return pages.cut(await queries.page(session, pages.parse_cursor(cursor), limit + 1), limit)


async def versions(
    session: Session, name: str, cursor: str | None, limit: int
) -> tuple[Sequence[Template], str | None]:
    """Newest first, without their specs. Raises NotFoundError."""
    await get(session, name)
    return pages.cut(await queries.versions(session, name, pages.parse_cursor(cursor), limit + 1), limit)


async def remove(session: Session, name: str, caller: Caller) -> None:
    """Every version; jobs made of it stay. Raises NotFoundError and ForbiddenError."""
    template = await get(session, name)
    caller.require_change(template.user, f"the template {template.name!r}")
    await queries.delete_all(session, name)


def filled(template: Template, values: Mapping[str, Any]) -> Spec:
    """The job that a template is with these values. Raises InvalidError, whose problems name field and variable."""
    known = _known(template)
    return _checked(rules.fill(template.spec, known, values), known)


def reference(template: Template) -> dict[str, Any]:
    """What a job keeps of the template that it was made from."""
    return {"id": template.id, "name": template.name, "version": template.version}


async def difference(session: Session, job: Job) -> Difference:
    """From the template that a job was made from, with its defaults, to the job. Raises NotFoundError without one."""
    if job.template is None:
        raise NotFoundError(f"job {job.id} was not made from a template")
    template = await queries.by_id(session, job.template["id"])
    changes = rules.differences(rules.sample(template.spec, _known(template)), job.spec) if template else None
    return Difference(job.template["name"], job.template["version"], changes)


async def _spec(session: Session, saving: Saving) -> dict[str, Any]:
    if saving.job_id is None:
        return dict(saving.spec or {})
    job = await jobs.get(session, saving.job_id)
    return rules.with_variables(job.spec, job.resolved_spec, saving.fields)


def _described(found: Sequence[Variable], saving: Saving, before: Template | None) -> Sequence[Variable]:
    known = {variable.name: variable for variable in found}
    if unknown := [name for name in saving.descriptions if name not in known]:
        problems = [Problem(field=f"variables.{name}", message="does not stand in the template") for name in unknown]
        raise InvalidError("the template can't be used", problems=problems)
    earlier = {variable["name"]: variable["description"] for variable in before.variables} if before else {}
    for variable in found:
        variable.description = saving.descriptions.get(variable.name, earlier.get(variable.name)) or None
    return found


def _require_usable(spec: Mapping[str, Any], found: Sequence[Variable]) -> None:
    """Nothing may be wrong with it but what values that are still missing can mend."""
    known = {variable.name: variable for variable in found}
    open_ = {name: variable for name, variable in known.items() if variable.default is None}
    try:
        job_spec.validate_python(rules.sample(spec, known))
    except ValidationError as error:
        told = zip(error.errors(include_url=False), spec_problems(error, spec["kind"]), strict=True)
        problems = [
            problem
            for details, problem in told
            if details["type"] == "extra_forbidden" or not rules.concerned(open_, problem.field or "")
        ]
        if problems:
            raise InvalidError("the template can't become a job", problems=_blamed(problems, known)) from None


def _checked(fields: Mapping[str, Any], known: Mapping[str, Variable]) -> Spec:
    try:
        spec = job_spec.validate_python(fields)
    except ValidationError as error:
        problems = _blamed(spec_problems(error, str(fields.get("kind"))), known)
        raise InvalidError("filled in so, the template is no job", problems=problems) from None
    submissions.require_storable(spec)
    return spec


def _blamed(problems: Sequence[Problem], known: Mapping[str, Variable]) -> list[Problem]:
    """With the variables that the problems come from, where there are any."""
    blamed = []
    for problem in problems:
        names = ", ".join(f"${{{name}}}" for name in rules.concerned(known, problem.field or "") if problem.field)
        message = f"{problem.message}; it comes from {names}" if names else problem.message
        blamed.append(problem.model_copy(update={"message": message}))
    return blamed


def _known(template: Template) -> dict[str, Variable]:
    return {fields["name"]: Variable(**fields) for fields in template.variables}


async def _require_room(session: Session, before: Template | None) -> None:
    if before is None and await queries.count(session) >= MOST:
        raise InUseError(f"the tenant has {MOST} templates", hint="delete one that nobody needs any more")
    if before is not None and before.version >= MOST_VERSIONS:
        raise InUseError(f"there are {MOST_VERSIONS} versions of it", hint="save it under another name")
