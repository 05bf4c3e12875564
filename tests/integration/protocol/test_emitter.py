"""Events on a real disk: numbered without gaps, whole, and by one writer."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runyard.protocol.emitter import AlreadyRunningError, Emitter
from runyard.protocol.events import MetricEvent, Snapshot, any_event
from runyard.protocol.rundir import LONGEST_LINE, RunDir, read_complete_lines, read_lines_backwards


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def numbers(rundir: RunDir) -> list[int]:
    return [any_event.validate_json(line).n for line in rundir.events.read_bytes().splitlines()]


def test_numbers_go_on_over_attempts(rundir: RunDir) -> None:
    for attempt in (1, 2):
        with Emitter(rundir, attempt, time.time) as emitter:
            emitter.phase("training")
            emitter.metric(1, {"loss": 2.5})
    assert numbers(rundir) == [1, 2, 3, 4]


def test_threads_that_report_at_once_share_no_number(rundir: RunDir) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that they come in each other's way
    try:
        with Emitter(rundir, 1, time.time) as emitter, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda step: emitter.metric(step, {"loss": 1.0}), range(400)))
    finally:
        sys.setswitchinterval(before)
    assert numbers(rundir) == list(range(1, 401))


def test_half_a_line_of_a_crash_is_cut_off(rundir: RunDir) -> None:
    with Emitter(rundir, 1, time.time) as emitter:
        emitter.metric(1, {"loss": 2.5})
    with rundir.events.open("ab") as file:
        file.write(b'{"n": 2, "at": 17')
    with Emitter(rundir, 2, time.time) as emitter:
        emitter.metric(2, {"loss": 2.4})
    assert numbers(rundir) == [1, 2]


def test_values_that_are_not_finite_become_null(rundir: RunDir) -> None:
    with Emitter(rundir, 1, time.time) as emitter:
        emitter.metric(1, {"loss": float("nan"), "grad_norm": float("inf"), "learning_rate": 0.1})
    event = any_event.validate_json(rundir.events.read_bytes())
    assert isinstance(event, MetricEvent)
    assert event.values == {"loss": None, "grad_norm": None, "learning_rate": 0.1}


def test_the_snapshot_holds_the_newest_of_everything(rundir: RunDir) -> None:
    with Emitter(rundir, 1, lambda: 12.0) as emitter:
        emitter.progress("training", 3, 10, eta_seconds=70.0)
        emitter.metric(3, {"loss": 1.5, "gpu_power_watts": 300.0})
        emitter.metric(3, {"eval_loss": 1.7}, split="eval")
    snapshot = Snapshot.model_validate_json(rundir.progress.read_bytes())
    assert (snapshot.step, snapshot.total_steps, snapshot.eta_seconds) == (3, 10, 70.0)
    assert (snapshot.loss, snapshot.eval_loss, snapshot.n, snapshot.at) == (1.5, 1.7, 3, 12.0)
    assert snapshot.values["gpu_power_watts"] == 300.0


def test_rows_prepared_are_not_taken_for_steps_trained(rundir: RunDir) -> None:
    with Emitter(rundir, 1, time.time) as emitter:
        emitter.phase("preparing")
        emitter.progress("preparing", 7473, 7473)
        emitter.phase("training")
        assert (emitter.snapshot.step, emitter.snapshot.total_steps) == (0, None)
        emitter.progress("training", 5, 10)
        emitter.phase("evaluating")
        assert (emitter.snapshot.step, emitter.snapshot.total_steps) == (5, 10)
    with Emitter(rundir, 2, time.time) as emitter:
        emitter.phase("preparing")
        assert emitter.snapshot.step == 0
        emitter.phase("loading")
        emitter.resumed(5, "checkpoints/step-000005")
        assert emitter.snapshot.step == 5


def test_a_second_writer_is_refused(rundir: RunDir) -> None:
    with Emitter(rundir, 1, time.time), pytest.raises(AlreadyRunningError, match="another trainer is running"):
        Emitter(rundir, 2, time.time)


def write_for_ever(root: Path) -> None:
    with Emitter(RunDir(root), 1, time.time) as emitter:
        step = 0
        while True:
            step += 1
            emitter.metric(step, {"loss": 1.0 / step})


def test_kill_at_any_moment_leaves_whole_lines_and_a_whole_snapshot(rundir: RunDir) -> None:
    process = multiprocessing.get_context("spawn").Process(target=write_for_ever, args=(rundir.root,))
    process.start()
    deadline = time.monotonic() + 30
    while not rundir.progress.exists() or json.loads(rundir.progress.read_bytes())["n"] < 200:
        assert time.monotonic() < deadline
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    snapshot = Snapshot.model_validate_json(rundir.progress.read_bytes())
    with Emitter(rundir, 2, time.time) as emitter:
        emitter.message("on we go")
    seen = numbers(rundir)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) - 1 >= snapshot.n


def test_a_full_disk_leaves_no_half_line(rundir: RunDir) -> None:
    with Emitter(rundir, 1, time.time) as emitter:
        emitter.metric(1, {"loss": 2.0})
        size = rundir.events.stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        try:
            with pytest.raises(OSError, match=r"File too large|No space left"):
                emitter.metric(2, {"loss": 1.9})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        emitter.metric(2, {"loss": 1.9})
    assert numbers(rundir) == [1, 2]


def test_a_line_without_an_end_is_read_in_pieces(tmp_path: Path) -> None:
    """Its writer may never come to one, and the reader has other things to keep in memory."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * (3 * LONGEST_LINE) + b"\n" + b'{"good": 1}\n')
    given, offset = [], 0
    while lines_and_offset := read_complete_lines(path, offset, limit=16):
        lines, offset = lines_and_offset
        if not lines:
            break
        given += lines
    assert offset == path.stat().st_size
    assert given[-1] == b'{"good": 1}'
    assert len(given) <= 6
    assert max(map(len, given[:-1])) <= LONGEST_LINE


def test_a_reader_gets_each_line_once_however_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_complete_lines(path, 0) == ([], 0)
    whole = b"".join(b'{"line": %d, "pad": "%s"}\n' % (i, b"x" * (i % 50)) for i in range(300))
    seen: list[bytes] = []
    offset = 0
    for end in [*range(0, len(whole), 37), len(whole)]:
        path.write_bytes(whole[:end])
        lines, offset = read_complete_lines(path, offset, limit=16)
        seen += lines
    while True:
        lines, offset = read_complete_lines(path, offset, limit=16)
        if not lines:
            break
        seen += lines
    assert seen == whole.splitlines()
    assert list(read_lines_backwards(path, block=7)) == seen[::-1]


def test_an_unfinished_checkpoint_is_not_there(rundir: RunDir) -> None:
    for name in ("step-000010", "step-1000000", ".partial-step-000020", "step-000030.tmp"):
        (rundir.checkpoints / name).mkdir(parents=True)
    assert rundir.checkpoint_steps() == [10, 1_000_000]
    assert rundir.checkpoint(10).is_dir()
