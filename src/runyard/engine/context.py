"""What the loops of one engine share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runyard.db.database import Database
from runyard.db.queries.attempts import Lease
from runyard.domain import retries
from runyard.domain.placement import Machine
from runyard.executors.base import Executor
from runyard.protocol.rundir import RunDir

LEASE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Context:
    database: Database
    executor: Executor
    runs: Path
    machine: Machine
    clock: Callable[[], float]
    """Seconds since the epoch."""
    owner: str
    """The same after a restart: what this owner held before is taken up again at once."""
    new_id: Callable[[], str]
    argv: Callable[[RunDir, int], Sequence[str]]
    """The command of a trainer, from its run folder and the number of the attempt."""
    notify: Callable[[], None]
    """Called when the feed has something new."""
    grace_seconds: float = 30.0
    save_seconds: float = 600.0
    retry_seconds: float = retries.FIRST_SECONDS
    """Pause before the first retry; it doubles with each that follows."""
    token: str = field(init=False)
    """New for every start of an engine; what an earlier one still tries to write is dropped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", self.new_id())

    def lease(self) -> Lease:
        return Lease(self.owner, self.token, self.clock() + LEASE_SECONDS)
