"""A new job: form, job file and plan side by side, and what a job would meet if it were started now."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runyard.db.queries import datasets as data_rows
from runyard.db.queries import estimates
from runyard.db.queries import jobs as job_rows
from runyard.db.tables import Template
from runyard.domain import yamlfile
from runyard.domain.errors import RunyardError
from runyard.domain.lifecycle import ACTIVE, State
from runyard.domain.yamlfile import Document, YamlError
from runyard.protocol.problems import Problem, spec_problems
from runyard.protocol.specs import SPEC_CLASSES, Spec, job_spec
from runyard.server.deps import Desk, ToSubmit, new_id
from runyard.server.web import forms
from runyard.server.web.frame import Sight, render, text_of
from runyard.services import datasets, jobs, sources, submissions, templates

router = APIRouter(prefix="/new")

EXAMPLES = {
    "sft": "kind: sft\nmodel: HuggingFaceTB/SmolLM2-135M-Instruct\ndata: {data}\nadapter:\n  rank: 16\n  alpha: 32\n"
    "training:\n  epochs: 1\n  learning_rate: 2e-4\npriority: normal\n",
    "dpo": "kind: dpo\nmodel: HuggingFaceTB/SmolLM2-135M-Instruct\ndata: {data}\npreference:\n  beta: 0.1\n"
    "training:\n  epochs: 1\n  learning_rate: 5e-6\npriority: normal\n",
    "script": "kind: script\nname: first steps\n# A line for the shell; what it prints is the job's log.\n"
    'command: "for i in 1 2 3 4 5 6 7 8 9 10; do echo step $i of 10; sleep 1; done"\npriority: normal\n',
}
NO_DATA = "dataset:ID"
MOST_SETS = 50
BLANK = "v."
"""How the values of a template's places begin in the address."""


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    field: Annotated[str, Field(max_length=200)]
    value: Annotated[str, Field(max_length=10_000)]


class Draft(BaseModel):
    """A job file as it is being written, and the fields of the form that were changed since."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=100_000)]
    changes: Annotated[list[Change], Field(max_length=20)] = []
    kind: Annotated[str, Field(max_length=50)] | None = None
    """Begin anew with the example of this kind."""


@dataclass(frozen=True)
class Beginning:
    """The text to start from and what it is; of a template, its places to fill in and why they don't do as they are."""

    text: str
    origin: str = ""
    blanks: Sequence[str] = ()
    filled: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True)
class Plan:
    """What would become of a job that is started now."""

    problems: list[Problem]
    spec: Spec | None = None
    seconds: float | None = None
    rows: int | None = None
    running: int = 0
    waiting: int = 0
    places: int = 0
    wants: str = ""
    """What is still to be chosen, when nothing has been done wrong."""


@router.get("")
async def show(desk: ToSubmit, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    asked = request.query_params
    beginning = await _beginning(desk, dict(asked))
    text = beginning.text
    document, _ = _read(text)
    kind = _kind(document) or "sft"
    async with desk.read() as session:
        sets = await data_rows.page(session, None, MOST_SETS)
        known, _ = await templates.page(session, None, MOST_SETS)
    return render(
        sight,
        "new.html",
        here="/jobs",
        text=text,
        origin=beginning.origin,
        blanks=beginning.blanks,
        filled=beginning.filled,
        refused=beginning.refused,
        kind=kind,
        kinds=list(SPEC_CLASSES),
        form=forms.fields(kind),
        values=_values(text),
        sets=sets,
        templates=known,
        from_template=asked.get("template", ""),
        plan=await _plan(desk, text),
    )


@router.post("/check")
async def check(desk: ToSubmit, request: Request, draft: Annotated[Draft, Body()]) -> Response:
    """The draft with its changes, what its fields say, and the plan; nothing is kept."""
    sight = Sight(request, desk.yard.clock(), desk.caller)
    text, wrong = await asyncio.to_thread(_changed, draft)
    plan = await _plan(desk, text)
    document, _ = _read(text)
    kind = _kind(document)
    answer: dict[str, Any] = {
        "text": text,
        "kind": kind,
        "values": _values(text) if document else None,
        "lines": {".".join(map(str, path)): line for path, line in document.lines.items()} if document else {},
        "wrong": wrong,
        "plan": text_of(sight, "plan.html", plan=plan),
        "spec": submissions.as_asked(plan.spec) if plan.spec and not plan.problems else None,
    }
    if kind:
        answer["form"] = text_of(sight, "form.html", form=forms.fields(kind), values=answer["values"], kind=kind)
    return JSONResponse(answer)


def _changed(draft: Draft) -> tuple[str, str | None]:
    """The text as it is now, and why not all changes could be made. A long one takes its time."""
    text = draft.text
    if draft.kind is not None and draft.kind in EXAMPLES:
        text = EXAMPLES[draft.kind].format(data=_values(text).get("data.train", NO_DATA))
    try:
        for change in draft.changes:
            text = forms.changed(text, change.field, change.value)
    except YamlError as error:
        return draft.text, error.message
    return text, None


async def _beginning(desk: Desk, asked: Mapping[str, str]) -> Beginning:
    if source := asked.get("from"):
        async with desk.read() as session:
            job = await jobs.get(session, source)
        spec = dict(job.spec)
        if step := asked.get("step"):
            spec["continue_from"] = f"{job.id}:{step}"
        return Beginning(yamlfile.written(spec), f"from {job.name}")
    if name := asked.get("template"):
        async with desk.read() as session:
            template = await templates.get(session, name)
        return _of_template(template, asked)
    kind = asked.get("example") or asked.get("kind") or "sft"
    data = asked.get("data", NO_DATA)
    return Beginning(EXAMPLES.get(kind, EXAMPLES["sft"]).replace("{data}", data))


def _of_template(template: Template, asked: Mapping[str, str]) -> Beginning:
    """Filled in as far as its places have values; as it is while one that needs a value has none."""
    origin = f"from the template {template.name}, version {template.version}"
    given = {name.removeprefix(BLANK): value for name, value in asked.items() if name.startswith(BLANK) and value}
    blanks = [variable["name"] for variable in template.variables]
    defaults = {variable["name"]: variable["default"] or "" for variable in template.variables}
    try:
        text, refused = yamlfile.written(submissions.as_asked(templates.filled(template, given))), ""
    except RunyardError as error:
        text, refused = (
            yamlfile.written(template.spec),
            "; ".join(problem.message for problem in error.problems) or error.message,
        )
    return Beginning(text, origin, blanks, defaults | given, refused)


def _read(text: str) -> tuple[Document | None, Problem | None]:
    try:
        return yamlfile.parse(text), None
    except YamlError as error:
        return None, Problem(message=error.message, line=error.line)


def _kind(document: Document | None) -> str | None:
    value = document.value if document else None
    kind = value.get("kind") if isinstance(value, dict) else None
    return kind if kind in SPEC_CLASSES else None


def _values(text: str) -> dict[str, str]:
    try:
        return forms.values(text)
    except YamlError:
        return {}


async def _plan(desk: Desk, text: str) -> Plan:
    document, wrong = _read(text)
    if document is None:
        return Plan([wrong] if wrong else [])
    try:
        spec = job_spec.validate_python(document.value)
    except ValidationError as error:
        return Plan([_placed(problem, document) for problem in spec_problems(error, _kind(document))])
    if _values(text).get("data.train") == NO_DATA:
        return Plan([], wants="Choose the data: upload a file, or name what is here already.")
    try:
        submissions.require_storable(spec)
        resolved = await sources.resolve(desk.yard.database, spec, desk.caller, desk.yard.context)
        await datasets.require_usable(spec, resolved, desk.yard.context)
    except RunyardError as error:
        found = [_placed(problem, document) for problem in error.problems] or [Problem(message=error.message)]
        return Plan(found, spec)
    job = submissions.row(spec, resolved.spec, desk.caller, new_id(), desk.yard.clock())
    async with desk.read() as session:
        seconds = await estimates.of_job(session, job)
        counts = await job_rows.count_by_state(session)
    rows = sum(data.upload.rows or 0 for data in resolved.data if data.upload) or None
    running = sum(counts.get(state, 0) for state in ACTIVE)
    places = len(desk.yard.gpus()) if desk.yard.gpus() and spec.resources.gpus != 0 else desk.yard.slots
    return Plan([], spec, seconds, rows, running, counts.get(State.QUEUED, 0), places)


def _placed(problem: Problem, document: Document) -> Problem:
    path = tuple((problem.field or "").split("."))
    return problem.model_copy(update={"line": problem.line or document.line(path), "file": None})
