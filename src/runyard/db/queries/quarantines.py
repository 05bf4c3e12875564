"""GPUs: what attempts that have ended still hold, and what nothing is started on."""

from collections.abc import Collection, Sequence

from sqlalchemy import select

from runyard.db.database import Session
from runyard.db.tables import Attempt, Quarantine


async def unreleased(session: Session, owner: str) -> Sequence[Attempt]:
    """Attempts of a data folder that hold GPUs, those that have ended among them."""
    query = select(Attempt).where(Attempt.released_at.is_(None), Attempt.lease_owner == owner)
    return [attempt for attempt in await session.scalars(query) if attempt.gpus]


async def known(session: Session, attempt_ids: Collection[str]) -> set[str]:
    """Those that are attempts of this database."""
    if not attempt_ids:
        return set()
    return set(await session.scalars(select(Attempt.id).where(Attempt.id.in_(attempt_ids))))


async def ended(session: Session, attempt_ids: Collection[str]) -> Sequence[Attempt]:
    """Those that are attempts of this database and have ended."""
    query = select(Attempt).where(Attempt.id.in_(attempt_ids), Attempt.ended_at.is_not(None))
    return (await session.scalars(query)).all()


async def release(session: Session, attempt_id: str, at: float) -> bool:
    """From now on it holds nothing; False if somebody else has seen to it."""
    attempt = await session.get(Attempt, attempt_id)
    if attempt is None or attempt.released_at is not None:
        return False
    attempt.released_at = at
    return True


async def of_machine(session: Session, machine: str) -> Sequence[Quarantine]:
    return (await session.scalars(select(Quarantine).where(Quarantine.machine == machine))).all()


async def put(session: Session, quarantine: Quarantine) -> None:
    await session.merge(quarantine)


async def lift(session: Session, machine: str, gpu: int) -> None:
    if found := await session.get(Quarantine, (machine, gpu)):
        await session.delete(found)
