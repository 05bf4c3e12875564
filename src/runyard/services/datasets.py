"""Uploaded data sets: kept once, checked, and refused where a job can't use them."""

from collections.abc import Sequence
from pathlib import Path

from runyard.data.errors import DataError
from runyard.data.report import CheckReport
from runyard.db.database import Session
from runyard.db.queries import datasets as queries
from runyard.db.tables import DataSet
from runyard.domain.errors import InUseError, InvalidError, NotFoundError
from runyard.protocol.problems import Problem
from runyard.protocol.specs import Spec
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import checks, pages, schedules
from runyard.services.context import Context
from runyard.services.sources import Data, Resolved
from runyard.services.uploads import Incoming

SHOWN_JOBS = 5


async def known(session: Session, incoming: Incoming) -> DataSet | None:
    """The data set of an earlier upload with the same content and name."""
    return await queries.twin(session, incoming.sha256, incoming.name)


async def inspect(incoming: Incoming) -> CheckReport:
    """The report of a file that has come in. Raises InvalidError when not one row of it can be read as a record."""
    report = await checks.check(incoming.path)
    if not report.columns:
        raise InvalidError("the file holds nothing that can be used as data", problems=report.problems)
    return report


async def keep(
    session: Session, incoming: Incoming, report: CheckReport, context: Context, dataset_id: str, at: float
) -> tuple[DataSet, bool]:
    """A data set of an upload; False with the one that is there when content and name are the same."""
    if twin := await known(session, incoming):
        return twin, False
    folder = context.datasets / dataset_id
    dataset = DataSet(
        id=dataset_id,
        name=incoming.name,
        path=str((folder / incoming.name).relative_to(context.home)),
        format=report.format,
        size_bytes=incoming.size,
        hash_sha256=incoming.sha256,
        rows=report.rows,
        report=report.model_dump(mode="json"),
        created_at=at,
    )
    await queries.add(session, dataset)
    incoming.keep(folder)
    return dataset, True


async def require_usable(spec: Spec, resolved: Resolved) -> dict[str, str]:
    """The SHA-256 of each data file, by field.

    Raises InvalidError, with lines, for data that the job can't train on; the trainer checks what is on the hub.
    """
    if isinstance(spec, ScriptSpec):
        return {}
    problems: list[Problem] = []
    sums: dict[str, str | None] = {}
    for data in resolved.data:
        try:
            if report := await _report(spec, data):
                report.require(drop_bad_rows=spec.data.drop_bad_rows)
                sums[data.field] = data.upload.hash_sha256 if data.upload else report.sha256
                if spec.kind not in report.kinds:
                    problems.append(Problem(field=data.field, file=report.source, message=_other_kind(spec, report)))
        except DataError as error:
            problems += [
                problem.model_copy(update={"field": problem.field or data.field}) for problem in error.problems
            ]
    if problems:
        raise InvalidError("the data can't be used for this job", problems=problems)
    return {field: found for field, found in sums.items() if found}


async def get(session: Session, dataset_id: str) -> DataSet:
    """Raises NotFoundError."""
    if dataset := await queries.get(session, dataset_id):
        return dataset
    hint = "`runyard datasets list` shows what is there"
    raise NotFoundError(f"there is no data set {dataset_id[:100]!r}", hint=hint)


async def page(session: Session, cursor: str | None, limit: int) -> tuple[Sequence[DataSet], str | None]:
    return pages.cut(await queries.page(session, pages.parse_cursor(cursor), limit + 1), limit)


async def delete(session: Session, dataset_id: str, context: Context) -> DataSet:
    """Forget a data set; its folder is the caller's to remove, once that is certain.

    Raises NotFoundError, and InUseError when a job that has not ended or a schedule needs it.
    """
    dataset = await get(session, dataset_id)
    if jobs := await queries.unfinished_jobs(session, str(context.home / dataset.path)):
        more = f" and {len(jobs) - SHOWN_JOBS} more" if len(jobs) > SHOWN_JOBS else ""
        raise InUseError(
            f"the data set is needed by {', '.join(jobs[:SHOWN_JOBS])}{more}",
            hint="wait until they have ended, or cancel them",
        )
    if name := await schedules.naming_data(session, dataset):
        hint = "remove the schedule first, or wait until it is over"
        raise InUseError(f"the data set is needed by the schedule {name!r}", hint=hint)
    await queries.delete(session, dataset)
    return dataset


async def _report(spec: SftSpec | DpoSpec, data: Data) -> CheckReport | None:
    """The stored report where it answers for this job, else a new one: for renamed columns, or files never uploaded."""
    if not data.name.startswith("/"):
        return None
    if data.upload and not spec.data.columns:
        stored = CheckReport.model_validate(data.upload.report)
        if spec.kind in stored.kinds or stored.problems:
            return stored
    return await checks.check(Path(data.name), spec.kind, spec.data.columns)


def _other_kind(spec: SftSpec | DpoSpec, report: CheckReport) -> str:
    return f"holds rows for {' or '.join(report.kinds) or 'no kind of job'}, not for {spec.kind}"
