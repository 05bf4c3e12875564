"""GPUs that nothing is started on."""

from collections.abc import Sequence

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Quarantine


async def of_machine(session: Session, machine: str) -> Sequence[Quarantine]:
    return (await session.scalars(select(Quarantine).where(Quarantine.machine == machine))).all()


async def put(session: Session, quarantine: Quarantine) -> None:
    await session.merge(quarantine)


async def lift(session: Session, machine: str, gpu: int) -> None:
    if found := await session.get(Quarantine, (machine, gpu)):
        await session.delete(found)
