"""`runyard.progress`, `.metric` and `.checkpoint`, called by real scripts."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runyard.domain.lifecycle import Cause
from runyard.protocol.events import any_event
from runyard.testing.yard import Yard, appears

TRAINING = """
import os, pathlib, signal, sys, time
import runyard

resume_from = os.environ["RUNYARD_RESUME_FROM"]
first = int(pathlib.Path(resume_from, "state.txt").read_text()) + 1 if resume_from else 1
steps = 20

def save(step):
    pathlib.Path("state.txt").write_text(str(step))
    runyard.checkpoint(step, "state.txt", loss=1 / step)
"""


def numbers(root: Path) -> list[int]:
    return [any_event.validate_json(line).n for line in (root / "events.jsonl").read_bytes().splitlines()]


def stderr(root: Path, attempt: int = 1) -> str:
    return (root / "attempts" / str(attempt) / "stderr.log").read_text()


async def test_what_a_script_tells_is_seen(yard: Yard) -> None:
    code = """
import pathlib, runyard
runyard.progress(1, 2)
runyard.metric(1, loss=2.0, learning_rate=float("nan"))
runyard.progress(2, 2)
runyard.metric(2, loss=1.5)
runyard.metric(2, split="eval", loss=1.7)
folder = pathlib.Path("made"); folder.mkdir()
(folder / "weights").write_bytes(b"abc")
runyard.checkpoint(2, folder, loss=1.5, best=True)
assert not folder.exists()
"""
    await yard.submit_script("job", code)
    job = await yard.reaches("job", "completed")
    snapshot = job.snapshot
    assert snapshot is not None
    assert (snapshot["phase"], snapshot["step"], snapshot["total_steps"]) == ("training", 2, 2)
    assert await yard.curve("job") == {1: 2.0, 2: 1.5}
    [saved] = await yard.feed("job", "checkpoint")
    assert saved.data["path"] == "checkpoints/step-000002"
    assert saved.data["files"] == {"weights": hashlib.sha256(b"abc").hexdigest()}
    assert (saved.data["size_bytes"], saved.data["best"], saved.data["metrics"]) == (3, True, {"loss": 1.5})
    assert stderr(yard.run("job")) == ""


async def test_killed_in_the_middle_it_goes_on_and_every_step_counts_once(yard: Yard) -> None:
    code = (
        TRAINING
        + """
for step in range(first, steps + 1):
    runyard.progress(step, steps)
    runyard.metric(step, loss=float(os.environ["RUNYARD_ATTEMPT"]))
    if step % 5 == 0:
        save(step)
    if step == 12 and not resume_from:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    await yard.submit_script("job", code, limits={"retries": 1})
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {step: 1.0 if step <= 10 else 2.0 for step in range(1, 21)}
    [resumed] = await yard.feed("job", "resumed")
    assert (resumed.data["step"], resumed.data["checkpoint"]) == (10, "checkpoints/step-000010")
    assert await yard.checkpoints("job") == [5, 10, 15, 20]
    assert numbers(yard.run("job")) == list(range(1, len(numbers(yard.run("job"))) + 1))


async def test_a_signal_handler_may_report_too(yard: Yard, tmp_path: Path) -> None:
    """It comes in the middle of other reports, and spoils none."""
    code = (
        TRAINING
        + """
step = first - 1
def leave(*_):
    save(step)
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
steps = 3000 if first == 1 else first + 10
for step in range(first, steps + 1):
    runyard.metric(step, loss=1.0)
    pathlib.Path("busy").touch()
    while step == 3000 and first == 1:
        runyard.metric(step, loss=1.0)
"""
    )
    await yard.submit_script("job", code, resumable=True)
    await appears(tmp_path / "busy")
    await yard.ask("job", Cause.PAUSE_ASKED)
    await yard.reaches("job", "paused")
    seen = numbers(yard.run("job"))
    assert seen == list(range(1, len(seen) + 1))
    [stopped_at] = await yard.checkpoints("job")
    await yard.ask("job", Cause.RESUME_ASKED)
    await yard.reaches("job", "completed")
    told = set(await yard.curve("job")) | {stopped_at}  # the signal may have come before its metric
    assert told == set(range(1, stopped_at + 12))
    assert stderr(yard.run("job"), 1) + stderr(yard.run("job"), 2) == ""


HANDLER_AND_THREAD = """
import os, signal, sys, threading, time
import runyard

runyard.metric(0, loss=1.0)
handled = 0
def report(number, frame):
    global handled
    handled += 1
    runyard.metric(handled, split="eval", loss=1.0)
signal.signal(signal.SIGTERM, report)

def send():
    while not done:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.0002)
done = False
sender = threading.Thread(target=send)
sender.start()
"""


def test_a_handler_may_report_whichever_thread_gets_the_signal(tmp_path: Path) -> None:
    code = """
for step in range(1, 2001):
    runyard.metric(step, loss=1.0)
done = True
sender.join()
assert signal.getsignal(signal.SIGTERM) is report
print(handled)
"""
    done = run(tmp_path, HANDLER_AND_THREAD + code, RUNYARD_RUN_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    seen = numbers(tmp_path)
    assert int(done.stdout) > 20
    assert seen == list(range(1, 2002 + int(done.stdout)))


def test_a_child_that_another_thread_forks_amid_a_report_can_be_ended(tmp_path: Path) -> None:
    code = """
import os, signal, sys, threading, time, warnings
import runyard
warnings.simplefilter("ignore")
signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
codes, done = [], False
def fork():
    global done
    for _ in range(40):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
            os._exit(1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done = True
worker = threading.Thread(target=fork)
worker.start()
step = 0
while not done:
    step += 1
    runyard.metric(step, loss=1.0)
worker.join()
assert codes == [5] * 40, codes
"""
    done = run(tmp_path, code, RUNYARD_RUN_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("handler", "ends"), [("signal.SIG_DFL", -15), ("signal.SIG_IGN", 0)])
def test_a_signal_that_nobody_handles_does_what_it_did(tmp_path: Path, handler: str, ends: int) -> None:
    code = """
for step in range(1, 501):
    runyard.metric(step, loss=1.0)
done = True
"""
    script = HANDLER_AND_THREAD.replace("SIGTERM, report)", f"SIGTERM, {handler})") + code
    done = run(tmp_path, script, RUNYARD_RUN_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (ends, "")
    assert (tmp_path / "events.jsonl").read_bytes().endswith(b"\n"), "no line is left half written"


async def test_other_processes_of_a_job_do_no_harm(yard: Yard) -> None:
    code = """
import multiprocessing, os, subprocess, sys, runyard
runyard.metric(1, loss=1.0)
worker = os.fork()
if worker == 0:
    for step in (1, 2, 3):
        runyard.metric(step, loss=100.0)
        runyard.progress(step)
    os._exit(0)
assert os.waitpid(worker, 0)[1] == 0
other = "import runyard; runyard.metric(1, loss=100.0); runyard.checkpoint(7, 'nothing')"
subprocess.run([sys.executable, "-c", other], check=True)
subprocess.run([sys.executable, "-c", other], check=True, env={**os.environ, "RANK": "1"})
runyard.metric(2, loss=0.5)
"""
    await yard.submit_script("job", code)
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {1: 1.0, 2: 0.5}
    words = "runyard: another process of this job reports; this one does not"
    assert stderr(yard.run("job")).splitlines() == [words, words]


async def test_a_full_disk_neither_ends_the_training_nor_makes_a_hole_in_its_curve(yard: Yard) -> None:
    code = """
import resource, signal, runyard
for _ in range(20):
    runyard.metric(1, loss=1.0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for step in range(2, 50):
    runyard.metric(step, loss=1.0)
    runyard.progress(step, 50)
runyard.checkpoint(50, "not/there")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
runyard.metric(50, loss=0.5)
"""
    await yard.submit_script("job", code)
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {step: 1.0 for step in range(1, 50)} | {50: 0.5}
    lines = stderr(yard.run("job")).splitlines()
    assert [line.partition(":")[2].partition(":")[0] for line in lines] == [
        " can't report metric", " can't report progress", " can't report checkpoint of step 50",
    ]  # fmt: skip


async def test_room_that_comes_at_the_very_end_is_used(yard: Yard) -> None:
    code = """
import resource, signal, threading, runyard
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
runyard.metric(1, loss=1.0)
room = resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
later = threading.Timer(0.3, resource.setrlimit, room)
later.daemon = True
later.start()
"""
    await yard.submit_script("job", code)
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {1: 1.0}


@pytest.mark.parametrize("call", ["metric(-1, loss=1)", "metric(1, 'test', loss=1)", "metric(0.5, loss=1)",
                                  "metric(1, loss='high')", "progress('x')"])  # fmt: skip
def test_a_mistake_in_a_call_is_told_at_once(tmp_path: Path, call: str) -> None:
    done = run(tmp_path, f"import runyard; runyard.{call}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(("ValueError", "TypeError"))


def test_alone_a_script_runs_as_well(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    done = run(
        tmp_path,
        "import runyard\nrunyard.progress(1, 2)\nrunyard.metric(1, loss=0.5)\nrunyard.checkpoint(1, 'state', loss=0.5)",
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "step 1: loss 0.5\ncheckpoint of step 1: state loss 0.5\n"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, runyard; assert not {'pydantic', 'httpx'} & set(sys.modules)"
    assert run(tmp_path, code).returncode == 0
    code = "import sys, runyard; runyard.metric(1, a=1); assert not {'httpx', 'sqlalchemy', 'torch'} & set(sys.modules)"
    assert run(tmp_path, code).returncode == 0


def test_progress_that_was_held_back_comes_at_the_end(tmp_path: Path) -> None:
    run(tmp_path, "import runyard\nfor step in range(100): runyard.progress(step)", RUNYARD_RUN_DIR=str(tmp_path))
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    assert len(events) < 20
    assert events[-1]["step"] == 99
    assert json.loads((tmp_path / "progress.json").read_bytes())["step"] == 99


def run(folder: Path, code: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
    )  # fmt: skip
