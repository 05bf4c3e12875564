"""Random sequences of commands, events, deaths and restarts, compared after every step with what they must amount to.

`pytest tests/integration/engine/test_sequences.py --hypothesis-profile=long` plays 10,000 sequences.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runyard.db.database import Database
from runyard.domain.errors import IllegalMoveError
from runyard.domain.lifecycle import ACTIVE, FINAL, Cause, State
from runyard.domain.placement import Machine
from runyard.engine.engine import Engine
from runyard.testing.memory_executor import MemoryExecutor, Pretended
from runyard.testing.yard import Yard

SLOTS = 2
MOST_JOBS = 4
CAUSES = [Cause.PAUSE_ASKED, Cause.RESUME_ASKED, Cause.CANCEL_ASKED, Cause.RETRY_ASKED]

settings.register_profile("long", max_examples=10_000)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Sequences(RuleBasedStateMachine):
    """The model: for each job the curve that its trainers have told, and whether one of them said that it is done."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "runyard.db")
        self.runner = asyncio.Runner()
        self.executor, self.clock = MemoryExecutor(), Clock()
        self.curves: dict[str, dict[int, float]] = {}
        self.saved: dict[str, int] = {}
        self.done: set[str] = set()
        self.ended: dict[str, State] = {}
        self.is_busy = False

    @initialize()
    def open(self) -> None:
        self.database = Database(f"sqlite:///{self.folder / 'runyard.db'}")
        self.yard = self._start()

    def _start(self) -> Yard:
        """A server, which knows nothing but what is in the database."""
        return Yard(
            self.database, self.folder / "runs", executor=self.executor, clock=self.clock, monotonic=self.clock,
            machine=Machine(slots=SLOTS), retry_seconds=10.0,
        )  # fmt: skip

    def teardown(self) -> None:
        if hasattr(self, "yard"):
            self.settle()
            self.runner.run(self.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # What people ask for

    @precondition(lambda self: len(self.curves) < MOST_JOBS)
    @rule(
        priority=st.sampled_from(["urgent", "normal", "low"]),
        resumable=st.booleans(),
        retries=st.sampled_from([None, 0]),
    )
    def submit(self, priority: str, resumable: bool, retries: int | None) -> None:
        id_ = f"job{len(self.curves)}"
        now = self.clock()
        values = {"created_at": now, "queued_at": now, "updated_at": now}
        limits = {"retries": retries}
        self.runner.run(self.yard.submit(id_, "", limits, priority=priority, resumable=resumable, **values))
        self.curves[id_] = {}

    @precondition(lambda self: self.curves)
    @rule(data=st.data(), cause=st.sampled_from(CAUSES))
    def ask(self, data: Any, cause: Cause) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.curves)))
        try:
            self.runner.run(self.yard.ask(id_, cause))
        except IllegalMoveError:
            return
        if cause in (Cause.RETRY_ASKED, Cause.RESUME_ASKED):
            self.ended.pop(id_, None)

    # What trainers do

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data())
    def train(self, data: Any) -> None:
        process = data.draw(st.sampled_from(self.executor.alive()))
        step = self._begin(process)
        for number in range(data.draw(st.integers(1, 3))):
            self._metric(process, step + 1 + number)

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data())
    def save(self, data: Any) -> None:
        process = data.draw(st.sampled_from(self.executor.alive()))
        id_, step = process.launch.job_id, self._begin(process)
        self.saved[id_] = step
        fields = {"path": f"checkpoints/step-{step:06d}", "size_bytes": 1, "metrics": {}, "best": False}
        self.executor.say(process, "checkpoint", step=step, **fields)

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data(), word=st.booleans())
    def complete(self, data: Any, word: bool) -> None:
        process = data.draw(st.sampled_from(self.executor.alive()))
        self._begin(process)
        if word:
            self.executor.say(process, "finished", outcome="completed")
        self.executor.end(process, 0)
        self.done.add(process.launch.job_id)

    @precondition(lambda self: [process for process in self.executor.alive() if process.asked])
    @rule(data=st.data())
    def obey(self, data: Any) -> None:
        process = data.draw(st.sampled_from([process for process in self.executor.alive() if process.asked]))
        self._begin(process)
        if process.asked[-1] == "save":
            self.saved[process.launch.job_id] = max(self.curves[process.launch.job_id], default=0)
        self.executor.say(process, "finished", outcome="stopped")
        self.executor.end(process, 75)

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data(), how=st.sampled_from(["crash", "kill", "lose", "unasked"]))
    def die(self, data: Any, how: str) -> None:
        process = data.draw(st.sampled_from(self.executor.alive()))
        match how:
            case "crash":
                self.executor.end(process, 1)
            case "kill":
                self.executor.end(process, 137, 9)
            case "unasked":
                self.executor.end(process, 75)
            case "lose":
                self.executor.lose(process)

    # What happens to the server

    @rule(busy=st.booleans())
    def look_away(self, busy: bool) -> None:
        """Much may happen between two looks of the engine."""
        self.is_busy = busy

    @rule(silent=st.booleans())
    def silence(self, silent: bool) -> None:
        self.executor.is_silent = silent

    @rule()
    def restart(self) -> None:
        self.yard = self._start()

    @rule(seconds=st.sampled_from([5.0, 60.0, -3600.0, 3600.0]))
    def time_goes(self, seconds: float) -> None:
        self.clock.now += seconds

    # What must hold

    @invariant()
    def engine_looks(self) -> None:
        if not self.is_busy and hasattr(self, "yard"):
            self.runner.run(self._tick())

    @invariant()
    def nothing_runs_twice(self) -> None:
        jobs = [process.launch.job_id for process in self.executor.alive()]
        assert len(jobs) == len(set(jobs))
        assert len(jobs) <= SLOTS

    @invariant()
    def an_end_is_an_end(self) -> None:
        for id_ in self.curves:
            state = State(self._job(id_).state)
            if state in FINAL:
                assert self.ended.setdefault(id_, state) == state

    def settle(self) -> None:
        """All that runs comes to its end, and everything is as it was told."""
        self.executor.is_silent = False
        for _ in range(12):
            self.clock.now += 4000.0
            self.runner.run(self._tick())
            for process in self.executor.alive():
                self._begin(process)
                outcome, code = ("stopped", 75) if process.asked else ("completed", 0)
                self.executor.say(process, "finished", outcome=outcome)
                self.executor.end(process, code)
                self.done |= {process.launch.job_id} if code == 0 else set()
        for _ in range(3):
            self.runner.run(self._tick())
        assert self.executor.alive() == []
        for id_, curve in self.curves.items():
            job = self._job(id_)
            assert State(job.state) not in ACTIVE, job.state
            assert job.state != State.QUEUED, job.wait_cause
            assert (job.state == State.COMPLETED) == (id_ in self.done), (job.state, job.message)
            assert self.runner.run(self.yard.curve(id_)) == curve
            attempts = self.runner.run(self.yard.attempts(id_))
            assert all(attempt.ended_at is not None for attempt in attempts)
            assert [attempt.number for attempt in attempts] == list(range(1, job.attempts + 1))

    def _job(self, id_: str) -> Any:
        return self.runner.run(self.yard.job(id_))

    async def _tick(self) -> None:
        engine: Engine = self.yard.engine
        for _ in range(2):
            await engine.scheduler.tick()
            await engine.supervisor.tick()
            await engine.ingest.tick()

    def _begin(self, process: Pretended) -> int:
        """What a trainer says first, once; the last step of its curve."""
        id_ = process.launch.job_id
        if not process.has_begun:
            process.has_begun = True
            self.executor.say(process, "phase", phase="training")
            if process.launch.attempt > 1:
                step = self.saved.get(id_, 0)
                self.executor.say(process, "resumed", step=step, checkpoint=None)
                self.curves[id_] = {known: loss for known, loss in self.curves[id_].items() if known <= step}
        return max(self.curves[id_], default=0)

    def _metric(self, process: Pretended, step: int) -> None:
        loss = float(process.launch.attempt)
        self.executor.say(process, "metric", step=step, values={"loss": loss})
        self.curves[process.launch.job_id][step] = loss


@pytest.fixture(scope="module")
def template(sqlite_template: Path) -> Path:
    return sqlite_template


def test_random_sequences_keep_every_promise(template: Path) -> None:
    Sequences.template = template
    wanted = settings.default if settings.get_current_profile_name() == "long" else settings(max_examples=25)
    quiet = {"deadline": None, "stateful_step_count": 40, "suppress_health_check": list(HealthCheck)}
    run_state_machine_as_test(Sequences, settings=settings(wanted, **quiet))
