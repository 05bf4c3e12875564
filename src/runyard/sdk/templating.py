"""Templates of the tenant: jobs with places to fill in."""

import secrets
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runyard.domain import yamlfile
from runyard.domain.filling import PLACE
from runyard.protocol.problems import Problem
from runyard.protocol.specs.language import long_form
from runyard.schemas.jobs import JobDetail
from runyard.schemas.page import Page
from runyard.schemas.templates import DifferenceRead, FilledRead, TemplateDetail, TemplateRead
from runyard.sdk import calls, jobfile, submission
from runyard.sdk.calls import API, Call
from runyard.sdk.errors import JobFileError

TEMPLATES = f"{API}/templates"
DATA_FIELDS = (("data", "train"), ("data", "eval"))


def templates(*, cursor: str | None = None, limit: int = 50) -> Call[Page[TemplateRead]]:
    """The newest version of each; those that were saved last come first."""
    return calls.get(TEMPLATES, Page[TemplateRead], calls.given(cursor=cursor, limit=limit))


def template(name: str, *, version: int | None = None) -> Call[TemplateDetail]:
    """The newest version unless one is named."""
    return calls.get(_template(name), TemplateDetail, calls.given(version=version))


def template_versions(name: str, *, cursor: str | None = None, limit: int = 50) -> Call[Page[TemplateRead]]:
    """Newest first."""
    return calls.get(f"{_template(name)}/versions", Page[TemplateRead], calls.given(cursor=cursor, limit=limit))


def save_template(
    name: str,
    job: Path | str | Mapping[str, Any] | None = None,
    *,
    job_id: str | None = None,
    description: str | None = None,
    variables: Mapping[str, Mapping[str, str]] | None = None,
) -> Generator[calls.Call[Any], Any, TemplateDetail]:
    """The next version of a template: from the path of a job file or its fields as a dict, or from a job by its id.

    In the texts of a file `${NAME}` and `${NAME:-default}` are filled in later; its data files that are on this machine
    are uploaded now. `variables` has a `description` for each of them and, with `job_id`, the `field` that becomes it.
    """
    body = calls.given(name=name, job_id=job_id, variables=dict(variables or {}))
    body |= {} if description is None else {"description": description}
    if job is not None:
        body["spec"] = yield from _prepared(job)
    asked: Call[TemplateDetail] = Call("POST", TEMPLATES, calls.parser(TemplateDetail), body=body, patient=True)
    return (yield from asked)


def delete_template(name: str) -> Call[None]:
    """Every version; jobs that were made of it stay."""
    return Call("DELETE", _template(name), calls.nothing)


def fill_template(
    name: str, values: Mapping[str, Any] | None = None, *, version: int | None = None
) -> Call[FilledRead]:
    """The job that it becomes with these values; nothing is submitted."""
    body = {"values": dict(values or {}), **calls.given(version=version)}
    return Call("POST", f"{_template(name)}/spec", calls.parser(FilledRead), body=body)


def submit_template(
    name: str,
    values: Mapping[str, Any] | None = None,
    *,
    version: int | None = None,
    idempotency_key: str | None = None,
) -> Generator[calls.Call[Any], Any, JobDetail]:
    """Queue the job that it becomes with these values. A text among them is read as in a job file: `5` is a number.

    Where one names a data file on this machine, that is uploaded first. With the same `idempotency_key` the same job
    comes back instead of a second one.
    """
    given = dict(values or {})
    if any(isinstance(value, str) for value in given.values()):
        spec = (yield from template(name, version=version)).spec
        given = yield from _with_files(spec, given)
    asked: Call[JobDetail] = Call(
        *("POST", f"{_template(name)}/jobs", calls.parser(JobDetail)),
        body={"values": given, **calls.given(version=version)},
        headers={"Idempotency-Key": idempotency_key or secrets.token_hex(16)},
        patient=True,
    )
    return (yield from asked)


def job_template(job_id: str) -> Call[DifferenceRead]:
    """From which template a job was made, and in which fields it is another."""
    return calls.get(f"{calls.job_path(job_id)}/template", DifferenceRead)


def _prepared(job: Path | str | Mapping[str, Any]) -> Generator[calls.Call[Any], Any, dict[str, Any]]:
    """The fields of a job, with absolute paths, and uploads for the data files that are here; in defaults, too."""
    if isinstance(job, Mapping):
        fields, folder, file = job, Path.cwd(), None
    else:
        fields, folder, file = _read(Path(job)), Path(job).absolute().parent, str(job)
    spec = long_form({name: value for name, value in fields.items() if value is not None})
    for path in jobfile.PATH_FIELDS:
        text = _at(spec, path) or ""
        place = PLACE.fullmatch(text)
        name = place["default"] if place else text
        if not name or "${" in name:
            continue
        try:
            found = yield from _located(path, name, folder)
        except FileNotFoundError as error:
            raise JobFileError([Problem(file=file, field=".".join(path), message=str(error))]) from None
        spec = _changed(spec, path, f"${{{place['name']}:-{found}}}" if place else found)
    return spec


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = yamlfile.parse(jobfile.read(path)).value
    except yamlfile.YamlError as error:
        raise JobFileError([yamlfile.problem(error, str(path))]) from None
    if not isinstance(value, Mapping):
        raise JobFileError([Problem(file=str(path), line=1, message="holds no fields")])
    return value


def _with_files(spec: Mapping[str, Any], values: Mapping[str, Any]) -> Generator[calls.Call[Any], Any, dict[str, Any]]:
    """The values, those that name files here by what the server knows them as."""
    known, spec = dict(values), long_form(spec)
    for path in jobfile.PATH_FIELDS:
        place = PLACE.fullmatch(_at(spec, path) or "")
        given = values.get(place["name"]) if place and place["name"] else None
        if place is not None and isinstance(given, str):
            try:
                known[place["name"]] = yield from _located(path, given, Path.cwd())
            except FileNotFoundError as error:
                raise JobFileError([Problem(field=place["name"], message=str(error))]) from None
    return known


def _located(path: tuple[str, ...], name: str, folder: Path) -> Generator[calls.Call[Any], Any, str]:
    found = jobfile.located(path, name, folder)
    if path in DATA_FIELDS and Path(found).is_absolute() and Path(found).is_file():
        return f"{jobfile.UPLOADED}{(yield from submission.upload(Path(found))).id}"
    return found


def _at(spec: Any, path: tuple[str, ...]) -> str | None:
    for name in path:
        spec = spec.get(name) if isinstance(spec, Mapping) else None
    return spec if isinstance(spec, str) else None


def _changed(spec: Mapping[str, Any], path: tuple[str, ...], value: str) -> dict[str, Any]:
    name, *inner = path
    return {**spec, name: _changed(spec[name], tuple(inner), value) if inner else value}


def _template(name: str) -> str:
    return f"{TEMPLATES}/{quote(name, safe='')}"
