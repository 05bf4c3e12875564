"""The server and its machine."""

import platform
import shutil
from dataclasses import asdict

import psutil
from fastapi import APIRouter

from runyard import __version__
from runyard.db.queries import events, jobs, leaders, quarantines
from runyard.domain.errors import NoRoomError
from runyard.schemas.system import EngineRead, Health, SystemRead
from runyard.server.deps import ForAnybody, ToSee

health = APIRouter(tags=["system"])
router = APIRouter(prefix="/system", tags=["system"])

MEGABYTE = 1_000_000


@health.get("/health", operation_id="health")
async def alive(yard: ForAnybody) -> Health:
    """Answers when server and database do."""
    async with yard.database.read() as session:
        await events.last_id(session)
    return Health(status="ok", version=__version__)


@router.get("", operation_id="get_system")
async def show(desk: ToSee) -> SystemRead:
    """Version, processors, memory, disk, GPUs, and how many jobs are in each state."""
    yard = desk.yard
    async with desk.read(long=True) as session:
        counts = await jobs.count_by_state(session)
        engine = await leaders.seen(session)
        aside = {row.gpu: f"put aside: {row.cause}" for row in await quarantines.of_machine(session, yard.machine)}
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(yard.context.home)
    warnings = []
    try:
        yard.context.require_room()
    except NoRoomError as error:
        warnings.append(f"no job is accepted or started: {error.message} ({error.hint})")
    if engine is None:
        warnings.append("no engine runs, so jobs wait: start one with `runyard engine`")
    elif not engine.alive:
        warnings.append(f"the engine, {engine.name}, is not heard of: jobs wait until it is back or another takes over")
    warnings += [f"GPU {gpu} is {why}" for gpu, why in sorted(aside.items())]
    return SystemRead(
        version=__version__,
        host=platform.node(),
        database=yard.database.dialect,
        cpu_count=psutil.cpu_count() or 1,
        memory_total_mb=memory.total / MEGABYTE,
        memory_available_mb=memory.available / MEGABYTE,
        disk_total_bytes=disk.total,
        disk_free_bytes=disk.free,
        gpus=[gpu.model_copy(update={"unusable": aside.get(gpu.index, gpu.unusable)}) for gpu in yard.gpus()],
        cgroup_missing=yard.cgroup_missing,
        engine=EngineRead.model_validate(asdict(engine)) if engine else None,
        jobs=counts,
        slots=yard.slots,
        warnings=warnings,
    )
