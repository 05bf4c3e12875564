"""What a script may tell of itself: `runyard.progress`, `runyard.metric`, `runyard.checkpoint`.

```python
import runyard

for step in range(start, 1000):
    loss = train_one_step()
    runyard.progress(step + 1, 1000)
    runyard.metric(step + 1, loss=loss)
    if (step + 1) % 100 == 0:
        torch.save(state, "checkpoint.pt")
        runyard.checkpoint(step + 1, "checkpoint.pt", loss=loss)
```

With no server, metrics and checkpoints go to standard error as plain lines and progress goes nowhere, so that a script
also runs alone. A report that can't be written (a full disk) is told of on standard error and never ends the script;
metrics are written with a later one.
One process of a job reports: the first to do so, or with torchrun the one of rank 0.
"""

import atexit
import json
import operator
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Literal, TextIO

from runyard.protocol import folders, stacks
from runyard.protocol.emitter import AlreadyRunningError, Emitter
from runyard.protocol.events import Phase
from runyard.protocol.rundir import RunDir, read_lines_backwards

PROGRESS_SECONDS = 0.1
"""Progress that comes faster is told of later, or not when more has come until then."""
MOST_UNTOLD = 10_000
"""Metrics that are kept until there is room for them; of more, the oldest are lost."""
LAST_SECONDS = 5.0
"""At the end of the script there is so much time for room to be made."""
DEFERRED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A handler may report, too: it runs when the report under way is written."""


class Reporter:
    """Reports of one process. `rundir` is None where there is no server."""

    def __init__(self, rundir: RunDir | None, attempt: int, errors: TextIO, *, silent: bool = False) -> None:
        self._rundir, self._attempt, self._errors, self._silent = rundir, attempt, errors, silent
        self._lock = threading.RLock()
        self._emitter: Emitter | None = None
        self._warned: set[str] = set()
        self._told_at = float("-inf")
        self._pending: Callable[[Emitter], None] | None = None
        self._untold: deque[Callable[[Emitter], None]] = deque(maxlen=MOST_UNTOLD)
        self._began: tuple[float, int] | None = None

    def progress(
        self, step: int, total: int | None, epoch: float | None, eta_seconds: float | None, phase: Phase
    ) -> None:
        now = time.monotonic()
        eta = eta_seconds if eta_seconds is not None or phase != "training" else self._eta(step, total, now)

        def tell(emitter: Emitter) -> None:
            emitter.progress(phase, step, total, epoch=epoch, eta_seconds=eta)

        if self._rundir is None:
            return
        self._pending = tell
        if now >= self._told_at + PROGRESS_SECONDS or step == total:
            self._told_at = now
            self._flush()

    def metric(self, step: int, split: str, values: dict[str, float]) -> None:
        numbers = {name: float(value) for name, value in values.items()}
        if self._rundir is None:
            self._say(f"step {step}{'' if split == 'train' else f' {split}'}: {_pairs(numbers)}")
        else:
            with self._lock:
                self._untold.append(lambda emitter: emitter.metric(step, numbers, split))
                self._report("metric")

    def checkpoint(self, step: int, path: Path | None, values: dict[str, float], *, best: bool) -> None:
        numbers = {name: float(value) for name, value in values.items()}
        if self._rundir is None:
            self._say(f"checkpoint of step {step}: {path or 'no path'} {_pairs(numbers)}".rstrip())
            return
        folder = self._rundir.checkpoint(step)

        def keep(emitter: Emitter) -> None:
            if path is not None:
                folders.take(path, folder)
            files, size = folders.digests(folder), folders.size_bytes(folder)
            if not folder.is_dir():
                raise FileNotFoundError(f"there is no {folder}")
            name = str(folder.relative_to(emitter.rundir.root))
            emitter.checkpoint(step, name, size, numbers, best=best, files=files)

        self._report(f"checkpoint of step {step}", keep)

    def close(self) -> None:
        """At the end: what was held back is told."""
        self._flush()
        give_up = time.monotonic() + LAST_SECONDS
        while self._untold and time.monotonic() < give_up:
            time.sleep(0.05)
            self._report("metric")
        emitter, self._emitter = self._emitter, None
        if emitter is not None:
            emitter.close()

    def leave_to_parent(self) -> None:
        """After a fork: the parent goes on reporting, and its file is not this process's to keep open."""
        if self._emitter is not None:
            self._emitter.let_go()
        self._lock = threading.RLock()
        self._emitter = self._pending = None
        self._untold.clear()

    def _flush(self) -> None:
        if self._pending is not None:
            self._report("progress")

    def _report(self, what: str, tell: Callable[[Emitter], None] | None = None) -> None:
        """What was held back, then this."""
        with self._lock, _deferred_signals():
            if self._silent:
                self._untold.clear()
                return
            try:
                emitter = self._emitter = self._emitter or self._open()
                pending, self._pending = self._pending, None
                if pending is not None:
                    pending(emitter)
                while self._untold:
                    self._untold[0](emitter)
                    self._untold.popleft()
                if tell is not None:
                    tell(emitter)
            except AlreadyRunningError:
                self._silent, self._pending = True, None
                self._untold.clear()
                self._say("runyard: another process of this job reports; this one does not")
            except OSError as error:
                self._warn(what, error)
            else:
                self._warned.discard(what)

    def _open(self) -> Emitter:
        """The first report of an attempt that goes on says from where: what was told of later steps is void."""
        assert self._rundir is not None, "only a job has somebody to report to"
        emitter = Emitter(self._rundir, self._attempt, time.time)
        if self._attempt > 1 and not _has_spoken(self._rundir, self._attempt):
            folders.clear_leftovers(self._rundir.checkpoints)
            steps = self._rundir.checkpoint_steps()
            path = self._rundir.checkpoint(steps[-1]).relative_to(self._rundir.root) if steps else None
            try:
                emitter.resumed(steps[-1] if steps else 0, str(path) if path else None)
            except OSError:
                emitter.let_go()
                raise
        return emitter

    def _eta(self, step: int, total: int | None, now: float) -> float | None:
        if self._began is None or step < self._began[1]:
            self._began = (now, step)
        began, first = self._began
        if total is None or step <= first:
            return None
        return (now - began) / (step - first) * max(0, total - step)

    def _warn(self, what: str, error: OSError) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._say(f"runyard: can't report {what}: {error}")

    def _say(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._errors.write(f"{text}\n")
            self._errors.flush()


def progress(
    step: int,
    total: int | None = None,
    *,
    epoch: float | None = None,
    eta_seconds: float | None = None,
    phase: Phase = "training",
) -> None:
    """Tell how far the job is: so many of `total` optimizer steps, or of whatever `phase` counts.

    The time that is left is reckoned from the pace unless `eta_seconds` is given. A phase that takes long (such as
    evaluating, or saving) has a longer limit before the job is taken for stuck.
    """
    _reporter.progress(_step(step), total, epoch, eta_seconds, phase)


def metric(step: int, split: Literal["train", "eval"] = "train", **values: float) -> None:
    """Put values on the curves at a step: `metric(10, loss=0.7, learning_rate=1e-4)`.

    Every one is kept. What is not finite is a gap in the curve.
    """
    if split not in ("train", "eval"):
        raise ValueError(f"split must be train or eval, not {split!r}")
    _reporter.metric(_step(step), split, values)


def checkpoint(step: int, path: str | os.PathLike[str] | None = None, *, best: bool = False, **metrics: float) -> None:
    """Hand over a finished checkpoint: the file or folder at `path` is moved to `checkpoints/step-NNNNNN` in the run
    folder, whole or not at all, and each of its files summed (SHA-256).

    Without `path`: the script itself has written that folder, to another name first, and has renamed it. The next
    attempt finds the newest one in RUNYARD_RESUME_FROM. All are kept: an older one is the script's to remove.
    """
    _reporter.checkpoint(_step(step), None if path is None else Path(path), metrics, best=best)


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """By handlers of our own: under a mask the kernel gives the signal to another thread, and Python calls its handler
    in the main one all the same."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reports_in: int | None = os.getpid()
    before: dict[int, Callable[[int, FrameType | None], object]] = {}
    came: dict[int, FrameType | None] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if os.getpid() == reports_in:
            came[number] = frame
        else:  # in the fork of another thread, where this report never ends
            before[number](number, frame)

    try:
        for deferred in DEFERRED:
            if callable(handler := signal.getsignal(deferred)):
                before[deferred] = handler
                signal.signal(deferred, note)
        yield
    finally:
        reports_in = None
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in came.items():
            before[number](number, frame)


def _has_spoken(rundir: RunDir, attempt: int) -> bool:
    for line in read_lines_backwards(rundir.events):
        return bool(json.loads(line)["attempt"] == attempt)
    return False


def _step(value: int) -> int:
    """Numbers of other libraries, too. Raises TypeError for what is no whole number, ValueError below 0."""
    step = operator.index(value)
    if step < 0:
        raise ValueError(f"a step is 0 or more, not {step}")
    return step


def _pairs(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.6g}" for name, value in values.items())


def _for_this_process(environ: Mapping[str, str]) -> Reporter:
    root = environ.get("RUNYARD_RUN_DIR")
    if not root:
        return Reporter(None, 1, sys.stderr)
    rundir, attempt = RunDir(Path(root)), int(environ.get("RUNYARD_ATTEMPT") or 1)
    with suppress(OSError):
        if signal.getsignal(stacks.SIGNAL) == signal.SIG_DFL:
            stacks.answer(rundir.stacks(attempt))
    return Reporter(rundir, attempt, sys.stderr, silent=environ.get("RANK", "0") != "0")


_reporter = _for_this_process(os.environ)
atexit.register(_reporter.close)
os.register_at_fork(after_in_child=_reporter.leave_to_parent)
