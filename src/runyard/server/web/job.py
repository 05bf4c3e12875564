"""One job: how it stands, its curves, its log, its tries, what it left, and what to do when it failed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.queries import jobs as job_rows
from runyard.db.queries import overview as rows
from runyard.db.tables import Checkpoint, FeedEvent, Job
from runyard.domain import dotted, yamlfile
from runyard.domain import templates as rules
from runyard.domain.analytics import Report
from runyard.domain.cures import Change
from runyard.domain.lifecycle import ACTIVE, FINAL, State
from runyard.server.deps import Desk, ToSee
from runyard.server.web import advice, samples, shown, states, words
from runyard.server.web.forms import LABELS
from runyard.server.web.frame import LOOKED, MOST_LOOKED, Sight, render
from runyard.services import analytics, artifacts, jobs, queue, templates
from runyard.services.downloads import MODEL_KINDS
from runyard.services.jobs import History
from runyard.services.queue import Standing
from runyard.services.sources import UPLOADED

router = APIRouter(prefix="/jobs")

TOLD = ("state", "message", "resumed", "checkpoint")
MOST_EVENTS, MOST_PHASES, MOST_SETTINGS, MOST_FILES = 12, 500, 18, 200
PHASES = {
    "preparing": "data", "loading": "load", "training": "train", "evaluating": "evaluation", "saving": "save",
    "merging": "merge",
}  # fmt: skip
ELSEWHERE = {"name", "kind", "priority", "model", "model.name", "samples.prompts"}
"""Settings that have places of their own on the page."""
OWN_VALUES = 4
"""Of what a script reports, so many have a figure."""
LOOKED_SECONDS = 30 * 86400


@dataclass(frozen=True)
class Figure:
    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """`label` is empty for one that the form has among the rest."""

    name: str
    label: str
    text: str
    link: str = ""


@dataclass(frozen=True)
class Told:
    """An event as a sentence."""

    at: float
    text: str


@router.get("/{job_id}")
async def show(desk: ToSee, request: Request, job_id: str) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        cursor = await events.last_id(session)
        history = await jobs.show(session, job_id)
        job = history.job
        kept = await artifacts.checkpoints_of_job(session, job_id)
        files = await artifacts.of_job(session, job_id)
        asked = await samples.asked(session, job_id)
        told = await rows.told(session, job_id, TOLD, MOST_EVENTS)
        entered = await rows.told(session, job_id, ("phase",), MOST_PHASES)
        parent = await _parent(session, job)
        made_of = await templates.difference(session, job) if job.template else None
        report = await analytics.of_job(session, job_id, sight.now) if job.started_at else None
    standing = await _standing(desk, job, sight)
    changes = _differences(parent, job) if parent else made_of.changes if made_of else None
    box = await advice.box(desk, history, sight.now) if job.state == State.FAILED else None
    there = [row for row in kept if row.removed_at is None]
    row = shown.shown(job, sight.now)
    response = render(
        sight,
        "job.html",
        here="/jobs",
        cursor=cursor,
        job=job,
        row=row,
        sentence=_sentence(history, row, standing, sight, there),
        figures=figures(row, history, sight),
        asked=asked,
        phases=_phases(entered, job, sight.now),
        advice=box,
        history=history,
        checkpoints=sorted(there, key=lambda item: -item.step),
        files=files[:MOST_FILES],
        more_files=max(0, len(files) - MOST_FILES),
        has_model=any(file.kind in MODEL_KINDS for file in files),
        told=[item for event in told if (item := _told(event))],
        settings=_settings(job)[:MOST_SETTINGS],
        yaml=yamlfile.written(job.spec),
        differences=shown.differences(changes or ()),
        parent=parent,
        made_of=made_of,
        measured=_measured(report) if report else [],
        warnings=report.warnings if report else [],
        charts=json.dumps(
            {
                "job": job.id,
                "total": (job.snapshot or {}).get("total_steps"),
                "ended": job.state in FINAL,
                "checkpoints": [item.step for item in there],
            }
        ),
    )
    if job.state == State.FAILED and job_id not in sight.looked:
        looked = ".".join([*sight.looked, job_id][-MOST_LOOKED:])
        response.set_cookie(LOOKED, looked, LOOKED_SECONDS, samesite="lax", httponly=True)
    return response


async def _parent(session: Session, job: Job) -> Job | None:
    return await job_rows.get(session, job.parent_id) if job.parent_id else None


async def _standing(desk: Desk, job: Job, sight: Sight) -> Standing:
    if job.state != State.QUEUED:
        return Standing()
    async with desk.yard.database.read(long=True) as session:
        return (await queue.standings(session, [job], sight.now))[job.id]


def _sentence(history: History, row: shown.Shown, standing: Standing, sight: Sight, kept: Sequence[Checkpoint]) -> str:
    job, step = history.job, (history.job.snapshot or {}).get("step") or 0
    where = _where(history)
    match State(job.state):
        case State.QUEUED:
            when = f" It may start at about {sight.clock(job.expected_start)}." if job.expected_start else ""
            return f"{_capital(standing.cause or 'is about to be looked at')}.{when}"
        case State.STARTING | State.RUNNING:
            phase = PHASE_WORDS.get((job.snapshot or {}).get("phase") or "", _capital(job.state))
            end = (
                ""
                if row.left is None
                else f" Done in about {words.duration(row.left)}, at {sight.clock(sight.now + row.left)}."
            )
            return f"{phase}{where}. {_steps(job)}{end}".strip()
        case State.PAUSING:
            then = " It then goes on by itself, from its old place in line." if job.returns else ""
            return f"It writes a checkpoint at step {words.count(step)} and leaves its place.{then}"
        case State.PAUSED:
            last = history.moves[-1] if history.moves else None
            return f"Paused{f' by {last.actor}' if last else ''} at step {words.count(step)}; it goes on from there."
        case State.FAILED:
            from_step = kept[-1].step if kept else 0
            start = (
                f"A retry goes on from step {words.count(from_step)}."
                if kept
                else "No checkpoint yet: a retry begins at step 0."
            )
            at = f"Stopped at step {words.count(step)}, {sight.ago(job.finished_at or sight.now)}{where}."
            return f"{at} It ran for {words.duration(row.ran)}. {start}"
        case State.COMPLETED:
            ended = sight.ago(job.finished_at or sight.now)
            return f"Finished {ended}{where}, in {words.duration(row.ran)}. {_steps(job)}".strip()
        case _:
            last = history.moves[-1] if history.moves else None
            return f"{states.word(job.state)}{f' by {last.actor}' if last else ''}, {sight.ago(job.updated_at)}."


PHASE_WORDS = {
    "preparing": "Preparing data", "loading": "Loading the model", "training": "Training", "evaluating": "Evaluating",
    "saving": "Saving", "merging": "Merging",
}  # fmt: skip


def _steps(job: Job) -> str:
    snapshot: Mapping[str, Any] = job.snapshot or {}
    step, total, epoch = snapshot.get("step"), snapshot.get("total_steps"), snapshot.get("epoch")
    if not step:
        return ""
    text = f"Step {words.count(step)}" + (f" of {words.count(total)}" if total else "")
    return f"{text}{f', epoch {epoch:.2f}' if epoch else ''}."


def _where(history: History) -> str:
    last = history.attempts[-1] if history.attempts else None
    if last is None or last.machine is None:
        return ""
    gpus = f" · {', '.join(map(str, last.gpus))}" if last.gpus else ""
    return f" on {last.machine}{gpus}"


def figures(row: shown.Shown, history: History, sight: Sight) -> list[Figure]:
    """What is looked at first: of a model its losses, of a script what it reports."""
    job, snapshot = row.job, row.job.snapshot or {}
    values: Mapping[str, float | None] = snapshot.get("values") or {}
    found = []
    if snapshot.get("loss") is not None or job.kind in ("sft", "dpo"):
        found.append(Figure("Train loss", words.value(snapshot.get("loss")), note="newest step"))
        found.append(Figure("Eval loss", words.value(snapshot.get("eval_loss")), note="newest evaluation"))
    else:
        own = [name for name in values if not name.startswith(("cpu", "gpu", "memory", "rss"))][:OWN_VALUES]
        found += [Figure(name.replace("_", " "), words.value(values[name])) for name in own]
    if row.speed is not None:
        pace = snapshot.get("iteration_seconds")
        note = f"{words.pace(pace)} a step" if pace else ""
        found.append(Figure("Throughput", words.rate(row.speed), row.speed_unit, note))
    memory = next(
        (values[name] for name in values if name.startswith("gpu") and "memory" in name and values[name]), None
    )
    if memory is not None:
        found.append(Figure("GPU memory", words.gigabytes(memory), "GB"))
    started = f"started {sight.clock(job.started_at)}" if job.started_at else ""
    found.append(Figure("Time", words.duration(row.ran), note=started))
    tries = len(history.attempts)
    found.append(Figure("Attempts", str(tries), note=f"{job.failures} failed in a row" if job.failures else ""))
    return found[:6]


def _phases(told: Iterable[FeedEvent], job: Job, now: float) -> list[tuple[str, str, bool]]:
    """Of the last try: name, how long, and whether it is in it now."""
    entries = [
        (event.at, event.data["phase"]) for event in reversed(list(told)) if event.data.get("attempt") == job.attempts
    ]
    ends = [at for at, _ in entries[1:]] + [job.finished_at or now] * bool(entries)
    spans: dict[str, float] = {}
    for (at, phase), end in zip(entries, ends, strict=True):
        spans[phase] = spans.get(phase, 0.0) + max(0.0, end - at)
    last = entries[-1][1] if entries and job.state in ACTIVE else None
    return [(PHASES.get(phase, phase), words.duration(seconds), phase == last) for phase, seconds in spans.items()]


def _told(event: FeedEvent) -> Told | None:
    data = event.data
    match event.type:
        case "state":
            return Told(event.at, _moved(data))
        case "resumed":
            return Told(event.at, f"Went on from step {words.count(data['step'])}")
        case "checkpoint":
            return Told(event.at, f"Checkpoint {words.count(data['step'])} written, SHA-256 kept")
        case "message":
            return Told(event.at, str(data["text"]))
        case _:
            return None


def _moved(data: Mapping[str, Any]) -> str:
    word = "Submitted" if data["before"] is None else states.word(data["after"])
    why = data.get("message") or (states.cause(data["reason"]) if data.get("reason") else "")
    by = f" by {data['actor']}" if data["actor"] not in ("scheduler", "supervisor", "trainer", "engine") else ""
    return f"{word}{by}{': ' if why else ''}{why}"


def _settings(job: Job) -> list[Setting]:
    """What was asked for: by its word in the form, or else by its dotted name."""
    resolved = dict(dotted.flat(job.resolved_spec or {}))
    asked = [(name, value) for name, value in dotted.flat(job.spec) if name not in ELSEWHERE]
    return [_setting(name, value, resolved.get(name)) for name, value in asked if value not in (None, {}, [])]


def _setting(name: str, value: Any, resolved: Any) -> Setting:
    label = LABELS.get(name, "")
    if isinstance(value, str) and value.startswith(UPLOADED) and isinstance(resolved, str):
        path = Path(resolved)
        return Setting(name, label, path.name, f"/data/{path.parent.name}")
    return Setting(name, label, str(words.setting(value)))


def _measured(report: Report) -> list[tuple[str, str]]:
    """What the job came to: only what is known."""
    performance, losses, scores = report.performance, report.losses, report.efficiency
    utilization = report.resource_utilization["average_gpu_utilization"]
    reduced = losses["loss_reduction_percent"]
    found = [
        ("Training", words.duration(report.duration["training_seconds"])),
        ("Overhead", words.duration(report.duration["overhead_seconds"])),
        ("Rows/s, mean", words.rate(performance["average_samples_per_second"])),
        ("Rows/s, peak", words.rate(performance["peak_samples_per_second"])),
        ("Steps", words.count(performance["total_iterations"])),
        (
            "Loss fell by" if (reduced or 0) >= 0 else "Loss rose by",
            words.percent(None if reduced is None else abs(reduced) / 100),
        ),
        ("GPU use", words.percent(None if utilization is None else utilization / 100)),
        ("GPU memory, peak", words.gigabytes(report.resource_utilization["peak_gpu_memory_mb"])),
        ("Efficiency", words.percent(None if scores["overall_score"] is None else scores["overall_score"] / 100)),
    ]
    return [(label, text) for label, text in found if text != words.MISSING]


def _differences(parent: Job, job: Job) -> list[Change]:
    return [change for change in rules.differences(parent.spec, job.spec) if change.field != "name"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
