"""Random sequences of commands, events, deaths, frozen and former leaders, compared with what they must amount to.

`pytest -n 2 tests/integration/engine/test_sequences.py --hypothesis-profile=long` plays 10,000, `medium` 500.
"""

import asyncio
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

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

from runyard.db.queries import attempts, checkpoints, events, leaders, metrics, moves
from runyard.db.tables import Job, Table
from runyard.domain.errors import DatabaseDownError, IllegalMoveError
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Machine
from runyard.executors.base import Launch, LaunchError
from runyard.testing import expectation
from runyard.testing.brink import Brink, BrinkDatabase, BrinkExecutor, Fate
from runyard.testing.expectation import Told
from runyard.testing.memory_executor import MemoryExecutor, Pretended
from runyard.testing.onethread import OneThread
from runyard.testing.yard import Yard

SLOTS = 2
MOST_JOBS = 5
CAUSES = [Cause.PAUSE_ASKED, Cause.RESUME_ASKED, Cause.CANCEL_ASKED, Cause.RETRY_ASKED]
LONG_AGO = 1_000_000.0
MEMORY = Path("/dev/shm")

SEQUENCES = {"medium": 500, "long": 10_000}
SHARES = 2
"""Of all sequences, for as many processors: other ones in each."""


class Refusing(MemoryExecutor):
    """Can't start anything while `refuses`."""

    refuses = False

    async def launch(self, launch: Launch) -> dict[str, Any]:
        if self.refuses:
            raise LaunchError("no such program")
        return await super().launch(launch)


@dataclass
class Term:
    """An engine, from its start until it is dead. One that others have followed may still not know it."""

    number: int
    yard: Yard
    brink: Brink
    held: asyncio.Task[None] | None = None
    looked_at: int = 0
    """At which of all wishes it last began to look."""


class Standing(NamedTuple):
    state: str
    attempts: int
    returns: bool


class Sequences(RuleBasedStateMachine):
    runner: asyncio.Runner
    loop: OneThread
    database: BrinkDatabase
    rows: sqlite3.Connection
    """The same database, for a look from outside that costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.executor = Refusing()
        self.now, self.since = LONG_AGO, 0.0
        self.told: dict[str, Told] = {}
        self.saved: dict[str, int] = {}
        self.wishes = 0
        self.is_busy, self.happened = False, 0
        self.terms, self.ids = 0, count()
        self.former: list[Term] = []
        self.faults: list[str] = []

    @initialize(fenced=st.sampled_from([True, False, False]), jobs=st.integers(1, 2))
    def open(self, fenced: bool, jobs: int) -> None:
        """Without the fence of the leader, the lease of each attempt alone has to do."""
        self.is_fenced = self.is_punctual = fenced
        self.outside = Yard(self.database, self.folder / "runs", clock=lambda: self.now)
        self.term = self._begin_term()
        for _ in range(jobs):
            self.submit("low", True, None)

    def _begin_term(self) -> Term:
        """An engine that leads from now on; it knows nothing but what is in the database."""
        number, brink = self.terms + 1, Brink()
        token = f"token-{number}"
        database: Any = self.database.through(brink, lambda: self._note_write(number))
        if self.is_fenced:
            self._run(self._take_the_lead(token, number))
            database = database.fenced(lambda session: leaders.require(session, token))
        self.terms = number

        def act(verb: str, what: Any) -> None:
            self._note(number, verb, what)

        def require_lead() -> None:
            if number != self.terms:
                raise leaders.NotLeadingError("another leads")

        yard = Yard(
            database, self.folder / "runs", executor=BrinkExecutor(self.executor, brink, act),
            clock=lambda: self.now, monotonic=lambda: self.since, machine=Machine(slots=SLOTS), retry_seconds=10.0,
            token=token, require_lead=require_lead, new_id=lambda: f"{next(self.ids):06}",
        )  # fmt: skip
        return Term(number, yard, brink)

    async def _take_the_lead(self, token: str, number: int) -> None:
        async with self.database.write() as session:
            await leaders.take(session, token, token, 10.0)
            self.terms = number  # now: what the one before was writing when we came is written, and was its to write

    def _note_write(self, number: int) -> None:
        if self.is_fenced and number != self.terms:
            self.faults.append("a former leader wrote")

    def _note(self, number: int, verb: str, what: Any) -> None:
        """Something is about to be done to a process."""
        if number != self.terms:
            self.faults.append(f"a former leader did {verb}")
        if verb == "launch":
            told = self.told[what.job_id]
            if what.nonce in self.executor.processes:
                self.faults.append("a trainer was started that was there already")
            if told.wish is not None and told.wished_at <= self.term.looked_at:
                self.faults.append(f"started though {told.wish}")

    def teardown(self) -> None:
        try:
            if hasattr(self, "term"):
                self.settle()
        finally:
            shutil.rmtree(self.folder)
            self._run(self._end_all())
            for table in reversed(Table.metadata.sorted_tables):
                self.rows.execute(f"DELETE FROM {table.name}")

    async def _end_all(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    # What people ask for

    @precondition(lambda self: len(self.told) < MOST_JOBS)
    @rule(
        priority=st.sampled_from(["urgent", "normal", "low"]),
        resumable=st.booleans(),
        retries=st.sampled_from([None, 0, 1]),
    )
    def submit(self, priority: str, resumable: bool, retries: int | None) -> None:
        id_ = f"job{len(self.told)}"
        values = {"created_at": self.now, "queued_at": self.now, "updated_at": self.now}
        limits = {"retries": retries}
        self._run(self.outside.submit(id_, "", limits, priority=priority, resumable=resumable, **values))
        self.told[id_] = Told(retries, resumable)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), sensible=st.sampled_from([True, True, True, False]))
    def ask(self, data: Any, sensible: bool) -> None:
        """Mostly for what makes a difference."""
        id_ = data.draw(st.sampled_from(sorted(self.told)))
        told, before = self.told[id_], self._states()[id_].state
        due = [cause for cause in CAUSES if expectation.ASKED[cause].get(before, before) != before]
        due += [Cause.PAUSE_ASKED, Cause.RESUME_ASKED] * (before == "pausing")
        cause = data.draw(st.sampled_from(due if sensible and due else CAUSES))
        after = expectation.ASKED[cause].get(before)
        try:
            self._run(self.outside.ask(id_, cause))
        except IllegalMoveError:
            assert after is None, f"{cause} was refused, though the job was {before}"
            return
        self.term.yard.engine.wake()
        assert after is not None, f"{cause} was taken, though the job was {before}"
        is_reconsidered = before == "pausing" and cause in (Cause.PAUSE_ASKED, Cause.RESUME_ASKED)
        if is_reconsidered:
            told.reconsidered[self._states()[id_].attempts] = cause
        if after != before:
            told.moves.append(cause)
        if after != before or is_reconsidered or cause in (Cause.PAUSE_ASKED, Cause.CANCEL_ASKED):
            self.wishes += 1
            told.wish = cause if cause in (Cause.PAUSE_ASKED, Cause.CANCEL_ASKED) else None
            told.wished_at = self.wishes

    # What trainers do

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data())
    def train(self, data: Any) -> None:
        process = self._pick(data, self.executor.alive())
        step = self._begin(process)
        for number in range(data.draw(st.integers(1, 3))):
            self._metric(process, step + 1 + number)

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data())
    def save(self, data: Any) -> None:
        self._save(self._pick(data, self.executor.alive()))

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data(), how=st.sampled_from(["word", "code", "word, then killed"]))
    def complete(self, data: Any, how: str) -> None:
        process = self._pick(data, self.executor.alive())
        self._begin(process)
        if how != "code":
            self._say(process, "finished", outcome="completed")
        self.executor.end(process, *((137, 9) if how == "word, then killed" else (0,)))

    @precondition(lambda self: [process for process in self.executor.alive() if process.asked])
    @rule(data=st.data(), how=st.sampled_from(["save", "leave", "ended by SIGTERM"]))
    def obey(self, data: Any, how: str) -> None:
        process = self._pick(data, [process for process in self.executor.alive() if process.asked])
        if how == "ended by SIGTERM":
            self.executor.end(process, 143, 15)
            return
        if how == "save":
            self._save(process)
        self._begin(process)
        self._say(process, "finished", outcome="stopped")
        self.executor.end(process, 75)

    @precondition(lambda self: self.executor.alive())
    @rule(data=st.data(), how=st.sampled_from(["crash", "say so", "kill", "lose", "unasked"]))
    def die(self, data: Any, how: str) -> None:
        process = self._pick(data, self.executor.alive())
        match how:
            case "crash":
                self.executor.end(process, 1)
            case "say so":
                self._begin(process)
                self._say(process, "finished", outcome="failed", reason="error")
                self.executor.end(process, 1)
            case "kill":
                self.executor.end(process, 137, 9)
            case "unasked":
                self.executor.end(process, 75)
            case "lose":
                self.executor.lose(process)

    # What happens to the server and the machine

    @rule(trouble=st.sampled_from(["none", "none", "engine is busy", "nobody answers", "nothing can be started"]))
    def weather(self, trouble: str) -> None:
        """Much may happen between two looks of an engine that is busy."""
        self.is_busy = trouble == "engine is busy"
        self.executor.is_silent = trouble == "nobody answers"
        self.executor.refuses = trouble == "nothing can be started"

    @precondition(lambda self: self.term.held is None)
    @rule(places=st.integers(0, 12), fate=st.sampled_from(["hold", "hold", "break"]))
    def stumble(self, places: int, fate: Fate) -> None:
        """The engine is held in the middle of a look, or loses the database there, perhaps only after the commit."""
        self.term.brink.set(places, fate)
        self._run(self._look(self.term))

    @precondition(lambda self: self.term.held or self.former)
    @rule()
    def thaw(self) -> None:
        for term in (self.term, *self.former):
            self._run(self._thaw(term))
        self.former.clear()

    @precondition(lambda self: self.term.held is None)
    @rule(
        places=st.integers(0, 8),
        ends=st.sampled_from(["dies", "sleeps", "wakes"]),
        refused=st.booleans(),
        starts=st.booleans(),
    )
    def is_overtaken(self, places: int, ends: str, refused: bool, starts: bool) -> None:
        """In the middle of a look, which may have found another machine than that of the next."""
        if starts and len(self.told) < MOST_JOBS:
            self.submit("urgent", True, None)
        before, self.executor.refuses = self.executor.refuses, refused
        self.stumble(places, "hold")
        self.executor.refuses = before
        self.restart(ends == "dies")
        if ends == "wakes":
            self._run(self._look(self.term))
            self.thaw()

    @rule(dies=st.booleans())
    def restart(self, dies: bool) -> None:
        """Another leads. The one before is dead, or held and does not know yet."""
        old, self.term = self.term, self._begin_term()
        if old.held and not dies:
            self.former.append(old)
        elif old.held:
            old.held.cancel()

    @rule(seconds=st.sampled_from([5.0, 60.0, 700.0]), jump=st.sampled_from([0.0, 0.0, -3600.0, 3600.0]))
    def time_goes(self, seconds: float, jump: float) -> None:
        """And the clock may be set."""
        self.is_punctual &= jump >= 0
        self.now += seconds + jump
        self.since += seconds
        self.loop.pass_time(seconds)

    # What must hold

    @invariant()
    def engine_looks(self) -> None:
        """After every other thing that happens, so that it finds changes in pairs, too."""
        self.happened += 1
        if self.happened % 2 and not self.is_busy and self.term.held is None:
            self._run(self._look(self.term))

    @invariant()
    def nothing_runs_twice(self) -> None:
        jobs = [process.launch.job_id for process in self.executor.alive()]
        assert len(jobs) == len(set(jobs))
        assert len(jobs) <= SLOTS or not self.is_fenced, "a former leader had planned, too"
        assert not self.faults, self.faults

    def _wishes_hold(self) -> None:
        for id_, row in self._states().items():
            wish = self.told[id_].wish
            assert row.state in expectation.WISHED[wish] or (row.state == "pausing" and row.returns), (row, wish)

    def settle(self) -> None:
        """All that runs comes to its end, and everything is as it was told."""
        self.executor.is_silent = self.executor.refuses = False
        for term in [self.term, *self.former]:
            self._run(self._thaw(term))
        for _ in range(20):
            self.time_goes(5.0, 4000.0)
            for _ in range(2):
                self._run(self._look(self.term))
            self.nothing_runs_twice()
            self._all_leave()
            if {row.state for row in self._states().values()} <= expectation.AT_REST:
                break
        assert self.executor.alive() == []
        for id_, told in self.told.items():
            self._run(self._verify(id_, told))

    def _all_leave(self) -> None:
        states = self._states()
        for process in self.executor.alive():
            wanted = expectation.SENT.get(states[process.launch.job_id].state)
            assert wanted is None or process.asked, f"nobody told it to {wanted} and leave"
            assert wanted != "discard" or process.asked[-1] != "save"
            self._begin(process)
            self._say(process, "finished", outcome="stopped" if process.asked else "completed")
            self.executor.end(process, 75 if process.asked else 0)

    async def _verify(self, id_: str, told: Told) -> None:
        async with self.database.read() as session:
            job, tries = await session.get_one(Job, id_), await attempts.of_job(session, id_)
            history, curve = await moves.of_job(session, id_), await metrics.of_job(session, id_)
            saved, feed = await checkpoints.of_job(session, id_), await events.after(session, 0, id_, 100_000)
        assert job.state in expectation.AT_REST, (job.state, job.wait_cause)
        expectation.verify(told, job, history, tries, self.executor.processes, is_punctual=self.is_punctual)
        assert {row.step: row.values["loss"] for row in curve} == told.curve
        assert [row.step for row in saved] == sorted(set(told.saved))
        heard = [event for event in feed if "n" in event.data]
        assert [(event.data["attempt"], event.type) for event in heard] == told.lines
        assert [event.data["n"] for event in heard] == list(range(1, len(heard) + 1))

    # How it is done

    def _states(self) -> dict[str, Standing]:
        rows = self.rows.execute("SELECT id, state, attempts, resumes OR yields_to IS NOT NULL FROM jobs")
        return {id_: Standing(*row) for id_, *row in rows}

    async def _look(self, term: Term) -> None:
        """Until it is done, or held."""
        term.looked_at = self.wishes
        term.held = asyncio.create_task(self._tick(term.yard))
        reached = asyncio.create_task(term.brink.reached.wait())
        await asyncio.wait({term.held, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if term.held.done():
            await self._thaw(term)
        self._wishes_hold()

    async def _thaw(self, term: Term) -> None:
        """It goes on, and the look that it was held in comes to its end."""
        term.brink.thaw()
        if term.held:
            await term.held
            term.held = None

    async def _tick(self, yard: Yard) -> None:
        for part in (yard.engine.scheduler, yard.engine.supervisor, yard.engine.ingest):
            with suppress(DatabaseDownError, leaders.NotLeadingError):  # as a loop does, which looks again later
                await part.tick()

    def _pick(self, data: Any, processes: list[Pretended]) -> Pretended:
        jobs = {process.launch.job_id: process for process in processes}
        return jobs[data.draw(st.sampled_from(sorted(jobs)))]

    def _begin(self, process: Pretended) -> int:
        """What a trainer says first, once; the last step of its curve."""
        id_ = process.launch.job_id
        told = self.told[id_]
        if not process.has_begun:
            process.has_begun = True
            self._say(process, "phase", phase="training")
            if process.launch.attempt > 1:
                step = self.saved.get(id_, 0)
                self._say(process, "resumed", step=step, checkpoint=None)
                told.steps[process.launch.attempt] = step
                told.curve = {known: loss for known, loss in told.curve.items() if known <= step}
        return max(told.curve, default=0)

    def _save(self, process: Pretended) -> None:
        id_, step = process.launch.job_id, self._begin(process)
        self.saved[id_] = step
        self.told[id_].saved.append(step)
        self.told[id_].saves[process.launch.attempt] = step
        fields = {"path": f"checkpoints/step-{step:06d}", "size_bytes": 1, "metrics": {}, "best": False}
        self._say(process, "checkpoint", step=step, **fields)

    def _metric(self, process: Pretended, step: int) -> None:
        loss = float(process.launch.attempt)
        self._say(process, "metric", step=step, values={"loss": loss})
        told = self.told[process.launch.job_id]
        told.curve[step], told.steps[process.launch.attempt] = loss, step

    def _say(self, process: Pretended, type_: str, **fields: Any) -> None:
        told = self.told[process.launch.job_id]
        told.lines.append((process.launch.attempt, type_))
        if type_ == "finished":
            told.last_words[process.launch.attempt] = fields["outcome"]
        self.executor.say(process, type_, **fields)

    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(what)


@pytest.fixture
def ground(sqlite_template: Path, tmp_path: Path) -> Iterator[None]:
    """One database and one loop for all sequences: what SQLAlchemy has compiled for one, it has for the next."""
    shutil.copy(sqlite_template, tmp_path / "runyard.db")
    with asyncio.Runner(loop_factory=OneThread) as runner:
        database = BrinkDatabase(f"sqlite:///{tmp_path / 'runyard.db'}")
        Sequences.runner, Sequences.loop, Sequences.database = (
            runner,
            runner.get_loop(),
            database.through(Brink(), lambda: None),
        )
        Sequences.rows = sqlite3.connect(tmp_path / "runyard.db", isolation_level=None)
        logging.disable()  # each fault is told with its trace, which takes longer than the fault
        yield
        logging.disable(logging.NOTSET)
        Sequences.rows.close()
        runner.run(database.close())


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize("share", range(SHARES))
def test_random_sequences_keep_every_promise(share: int) -> None:
    wanted = SEQUENCES.get(settings.get_current_profile_name(), 24) // SHARES
    quiet = {"deadline": None, "stateful_step_count": 40, "suppress_health_check": list(HealthCheck)}
    run_state_machine_as_test(Sequences, settings=settings(max_examples=wanted, **quiet))
