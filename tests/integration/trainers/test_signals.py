"""A trainer as its own process: signals, the lock, a sudden death."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import RunDir
from runyard.trainers import run
from runyard.trainers.stop import Stop

pytestmark = pytest.mark.llm

DEADLINE = 120.0


@pytest.fixture
def start(cache):
    """Start a trainer process in a run folder; whatever still runs is killed in the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(rundir: RunDir, attempt: int = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "runyard.trainers", str(rundir.root), "--attempt", str(attempt)]
        environment = {**os.environ, "RUNYARD_CACHE": str(cache)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(rundir: RunDir, text: str, process: subprocess.Popen[str]) -> None:
    """Return when the events hold a text."""
    deadline = time.monotonic() + DEADLINE
    while not (rundir.events.exists() and text in rundir.events.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {text!r} in time"
        time.sleep(0.005)


def test_sigterm_saves_and_leaves_and_the_next_process_goes_on(make_run, start, train, events, same_weights):
    settings = {"training": {"epochs": 12}, "adapter": {"dropout": 0.1}, "checkpoints": {"every_steps": 1000}}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    assert train(whole) == 0
    process = start(stopped)
    wait_until(stopped, '"type":"metric","step":3,', process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 75
    [step] = stopped.checkpoint_steps()
    assert events(stopped)[-1].outcome == "stopped"
    assert [event.step for event in events(stopped, "checkpoint")] == [step]
    assert not stopped.final.exists()
    again = start(stopped, attempt=2)
    assert again.wait(DEADLINE) == 0, again.communicate()
    assert [event.step for event in events(stopped, "resumed")] == [step]
    assert same_weights(whole.final, stopped.final)


def test_a_killed_run_goes_on_from_its_last_checkpoint(make_run, start, train, events, same_weights):
    settings = {"training": {"epochs": 10}, "adapter": {"dropout": 0.1}, "checkpoints": {"every_steps": 7}}
    whole, killed = make_run("whole", **settings), make_run("killed", **settings)
    assert train(whole) == 0
    process = start(killed)
    wait_until(killed, '"type":"metric","step":16,', process)
    process.kill()
    process.wait(DEADLINE)
    newest = killed.checkpoint_steps()[-1]
    assert newest >= 14
    assert train(killed, attempt=2) == 0
    assert [event.step for event in events(killed, "resumed")] == [newest]
    assert same_weights(whole.final, killed.final)


def test_discard_leaves_without_saving(make_run, cache, events):
    rundir = make_run(training={"epochs": 50}, checkpoints={"every_steps": 1000})

    def clock() -> float:
        if '"type":"metric","step":2,' in rundir.events.read_text() and not rundir.stop_request.exists():
            rundir.stop_request.write_text("discard")
            signal.raise_signal(signal.SIGTERM)
        return time.time()

    assert run.main(rundir.root, 1, cache, clock) == 75
    assert rundir.checkpoint_steps() == []
    assert events(rundir)[-1].outcome == "stopped"
    assert "nothing saved" in events(rundir)[-1].message
    assert len(events(rundir, "metric")) < 5


@pytest.mark.parametrize("text", ['"phase":"preparing"', "training.pin_memory"], ids=["preparing", "before loading"])
def test_a_request_before_the_first_step_is_obeyed(text, make_run, train_and_signal, events):
    rundir = make_run()
    assert train_and_signal(rundir, text) == 75
    assert events(rundir)[-1].outcome == "stopped"
    assert rundir.checkpoint_steps() == []
    assert events(rundir, "metric") == []


def test_a_request_while_loading_does_not_wait_for_it(make_run, start, events):
    rundir = make_run(kind="dpo", training={"epochs": 1000}, adapter={"type": "none"})
    process = start(rundir)
    wait_until(rundir, '"phase":"loading"', process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 75
    assert events(rundir, "phase")[-1].phase == "loading"
    assert events(rundir)[-1].outcome == "stopped"


def test_a_request_while_merging_leaves_the_final_adapter_for_the_next_attempt(make_run, train, train_and_signal):
    rundir = make_run(output={"merge": True})
    assert train_and_signal(rundir, "final/adapter_config.json") == 75
    assert not rundir.merged.exists()
    assert train(rundir, attempt=2) == 0
    assert (rundir.merged / "model.safetensors").exists()


def test_asked_what_it_does_it_writes_its_stacks_and_goes_on(make_run, start, train, same_weights):
    settings = {"training": {"epochs": 12}}
    asked, left_alone = make_run("asked", **settings), make_run("left_alone", **settings)
    stacks = asked.stacks(1)
    stacks.parent.mkdir(parents=True)
    process = start(asked)
    wait_until(asked, '"type":"metric","step":2,', process)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(DEADLINE) == 0, process.communicate()
    assert "train" in stacks.read_text()
    assert train(left_alone) == 0
    assert same_weights(asked.final, left_alone.final)


def test_a_request_that_comes_while_it_begins_is_heard(tmp_path):
    request = tmp_path / "stop"
    stop = Stop(request)
    request.write_text("discard")
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
    assert stop.discard


def test_two_trainers_never_share_a_folder(make_run, start):
    rundir = make_run()
    with Emitter(rundir, 1, time.time):
        process = start(rundir)
        assert process.wait(DEADLINE) == 1
        assert "another trainer is running" in process.communicate()[1]


def test_the_process_says_nothing_but_its_events(make_run, start):
    rundir = make_run(data={"eval_split": 0.2}, output={"merge": True})
    process = start(rundir)
    assert process.wait(DEADLINE) == 0
    assert process.communicate() == ("", "")


def test_check_lists_problems_without_training(make_run, cache):
    good, bad = make_run("good"), make_run("bad", model={"quantization": "8bit"}, data={"train": "/nowhere.jsonl"})
    outcomes = {}
    for rundir in (good, bad):
        command = [sys.executable, "-m", "runyard.trainers", str(rundir.root), "--check"]
        done = subprocess.run(
            command, env={**os.environ, "RUNYARD_CACHE": str(cache)}, capture_output=True, text=True, check=False
        )
        outcomes[rundir.root.name] = (done.returncode, json.loads(done.stdout))
        assert not rundir.events.exists()
    code, found = outcomes["good"]
    assert (code, found["problems"]) == (0, [])
    assert found["report"]["rows"] == 24
    assert "training.group_by_length" in [choice["field"] for choice in found["choices"]]
    code, found = outcomes["bad"]
    assert code == 2
    assert found["problems"][0]["field"] == "model.quantization"
    assert "/nowhere.jsonl" in json.dumps(found["problems"][1:])
