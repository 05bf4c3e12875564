"""What the loops of one engine share."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.db.database import Database
from runyard.db.queries.attempts import Lease
from runyard.domain import retries
from runyard.domain.gpus import Usage
from runyard.domain.placement import Machine
from runyard.executors.base import Executor, User
from runyard.protocol.commands import Command
from runyard.protocol.rundir import RunDir
from runyard.services.context import Context as Limits
from runyard.services.tracing import Traces


def _nothing() -> None:
    """An engine that is alone leads."""


@dataclass(frozen=True, kw_only=True)
class Context:
    database: Database
    executor: Executor
    runs: Path
    machine: Machine
    clock: Callable[[], float]
    """Seconds since the epoch."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds on a clock that never jumps: what tells how long nothing has happened."""
    owner: str
    """The data folder: what an engine on the same one looked after is taken up again; others are out of reach."""
    new_id: Callable[[], str]
    command: Callable[[Mapping[str, Any], RunDir, int], Command]
    """What is executed for a job: from its resolved spec, its run folder, and the number of the attempt."""
    notify: Callable[[], None]
    """Called when the feed has something new."""
    limits: Limits
    """The data folder, and how much of everything there may be."""
    unusable: Callable[[], Mapping[int, str]] = dict
    """GPUs of the machine that nothing may be started on now, each with the reason."""
    gpu_usage: Callable[[], Mapping[int, Usage]] = dict
    """What is in use of each GPU, by index, of those whose memory can be watched. Raises OSError."""
    users: Mapping[str, User] = field(default_factory=dict)
    """Of tenants whose trainers run as a system user of their own."""
    enforces_limits: bool = False
    """Whether what jobs ask for of memory and processors is the most that they get."""
    grace_seconds: float = 30.0
    save_seconds: float = 600.0
    retry_seconds: float = retries.FIRST_SECONDS
    """Pause before the first retry; it doubles with each that follows."""
    traces: Traces = field(default_factory=Traces)
    hub_token: str = field(default="", repr=False)
    """The server's own for the hub: for jobs of the first tenant alone, whose server it is."""
    token: str = ""
    """New for every start of an engine, unless given; what an earlier one still tries to write is dropped."""
    require_lead: Callable[[], None] = _nothing
    """To be called before anything is done to a process: raises when another engine may lead by now."""

    def __post_init__(self) -> None:
        if not self.token:
            object.__setattr__(self, "token", self.new_id())

    def lease(self) -> Lease:
        return Lease(self.owner, self.token)
