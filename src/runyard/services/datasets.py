"""Uploaded data sets: kept once, checked, and refused where a job can't use them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runyard.data.errors import DataError
from runyard.data.report import CheckReport
from runyard.db.database import Session
from runyard.db.queries import datasets as queries
from runyard.db.tables import DataSet
from runyard.domain.access import Caller, Owner
from runyard.domain.errors import InUseError, InvalidError, NotFoundError
from runyard.protocol.problems import Problem
from runyard.protocol.specs import Spec
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import checks, pages, quotas, schedules
from runyard.services.context import Context
from runyard.services.sources import Data, Resolved
from runyard.services.uploads import Incoming

SHOWN_JOBS = 5


@dataclass(frozen=True)
class New:
    """Whose a new data set is, and since when."""

    id: str
    owner: Owner
    at: float


async def known(session: Session, incoming: Incoming) -> DataSet | None:
    """The data set of an earlier upload with the same content and name."""
    return await queries.twin(session, incoming.sha256, incoming.name)


async def inspect(incoming: Incoming, context: Context) -> CheckReport:
    """The report of a file that has come in.

    Raises InvalidError when not one row of it can be read as a record, or it is something else than its name says.
    """
    report = await checks.check(incoming.path, memory=context.check_memory)
    if not report.columns:
        raise InvalidError("the file holds nothing that can be used as data", problems=report.problems)
    is_named_parquet = incoming.path.suffix == ".parquet"
    if (report.format == "parquet") != is_named_parquet:
        message = "is a Parquet file: give it a name that ends in .parquet"
    elif not incoming.is_text and not is_named_parquet:
        message = "is binary, not text: somewhere in it is a NUL byte"
    else:
        return report
    raise InvalidError("the file is not what its name says", problems=[Problem(file=incoming.name, message=message)])


async def keep(
    session: Session, incoming: Incoming, report: CheckReport, context: Context, new: New
) -> tuple[DataSet, bool]:
    """A data set of an upload; False with the one that is there when content and name are the same.

    Raises OverQuotaError.
    """
    if twin := await known(session, incoming):
        return twin, False
    limits = await quotas.book(session, context)
    await quotas.require_left(session, new.owner, limits, new.at, gpus=False, extra=incoming.size)
    folder = context.datasets / new.id
    dataset = DataSet(
        id=new.id,
        tenant=new.owner.tenant,
        user=new.owner.user,
        name=incoming.name,
        path=str((folder / incoming.name).relative_to(context.home)),
        format=report.format,
        size_bytes=incoming.size,
        hash_sha256=incoming.sha256,
        rows=report.rows,
        report=report.model_dump(mode="json"),
        created_at=new.at,
    )
    await queries.add(session, dataset)
    incoming.keep(folder)
    return dataset, True


async def require_usable(spec: Spec, resolved: Resolved, context: Context) -> dict[str, str]:
    """The SHA-256 of each data file, by field.

    Raises InvalidError, with lines, for data that the job can't train on; the trainer checks what is on the hub.
    """
    if isinstance(spec, ScriptSpec):
        return {}
    problems: list[Problem] = []
    sums: dict[str, str | None] = {}
    for data in resolved.data:
        try:
            if report := await _report(spec, data, context):
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


async def delete(session: Session, dataset_id: str, caller: Caller, context: Context) -> DataSet:
    """Forget a data set; its folder is the caller's to remove, once that is certain.

    Raises NotFoundError, ForbiddenError, and InUseError when a job that has not ended or a schedule needs it.
    """
    dataset = await get(session, dataset_id)
    caller.require_change(dataset.user, f"the data set {dataset.name!r}")
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


async def _report(spec: SftSpec | DpoSpec, data: Data, context: Context) -> CheckReport | None:
    """The stored report where it answers for this job, else a new one: for renamed columns, or files never uploaded."""
    if not data.name.startswith("/"):
        return None
    if data.upload and not spec.data.columns:
        stored = CheckReport.model_validate(data.upload.report)
        if spec.kind in stored.kinds or stored.problems:
            return stored
    return await checks.check(Path(data.name), spec.kind, spec.data.columns, context.check_memory)


def _other_kind(spec: SftSpec | DpoSpec, report: CheckReport) -> str:
    return f"holds rows for {' or '.join(report.kinds) or 'no kind of job'}, not for {spec.kind}"
