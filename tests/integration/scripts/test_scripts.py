"""Programs of a team's own, started, paused, and seen to their end like any other job."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from runyard.domain.lifecycle import Cause
from runyard.protocol.rundir import RunDir
from runyard.testing.yard import Yard, appears, eventually

PYTHON = Path(os.path.realpath(sys.executable))
WAIT = "import pathlib, time\npathlib.Path('ready').touch()\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\n"


async def test_a_script_that_says_nothing_runs_and_completes(yard: Yard, tmp_path: Path) -> None:
    await yard.submit_script("job", WAIT)
    await yard.reaches("job", "running")
    (tmp_path / "go").touch()
    await yard.reaches("job", "completed")
    assert await yard.states("job") == ["starting", "running", "completed"]


async def test_it_finds_its_folders_its_words_and_its_variables(yard: Yard, tmp_path: Path) -> None:
    code = "import json, os, sys\njson.dump([sys.argv, os.getcwd(), dict(os.environ)], open('seen', 'w'))"
    (tmp_path / "here").mkdir()
    words = ["a b", "$HOME", "*"]
    await yard.submit_script("job", code, args=words, env={"MINE": "ü"}, workdir=str(tmp_path / "here"))
    await yard.reaches("job", "completed")
    argv, folder, env = json.loads((tmp_path / "here" / "seen").read_text())
    root = yard.run("job")
    assert argv == [str(tmp_path / "job.py"), *words]
    assert folder == str(tmp_path / "here")
    assert (env["MINE"], env["RUNYARD_JOB_ID"], env["RUNYARD_ATTEMPT"]) == ("ü", "job", "1")
    assert (env["PYTHONUNBUFFERED"], env["PYTHONFAULTHANDLER"], env["RUNYARD_RESUME_FROM"]) == ("1", "1", "")
    for name, path in [("RUN", root), ("CHECKPOINT", root / "checkpoints"), ("OUTPUT", root / "final")]:
        assert env[f"RUNYARD_{name}_DIR"] == str(path)
        assert path.is_dir()


async def test_a_venv_keeps_its_packages(yard: Yard, tmp_path: Path) -> None:
    """Its python is a link: what it points to knows nothing of the venv."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(PYTHON)
    (folder / "pyvenv.cfg").write_text(f"home = {PYTHON.parent}\n")
    code = "import sys; open('prefix', 'w').write(sys.prefix)"
    await yard.submit_script("job", code, python=str(folder / "bin" / "python"))
    await yard.reaches("job", "completed")
    assert (tmp_path / "prefix").read_text() == str(folder)


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("import sys; print('no such table', file=sys.stderr); sys.exit(3)", "crashed", "code 3: no such table"),
        ("raise SystemExit('give up')", "crashed", "code 1: give up"),
        ("import os; os.kill(os.getpid(), 11)", "killed", "SIGSEGV"),
    ],
)
async def test_how_it_failed_is_told(yard: Yard, code: str, reason: str, words: str) -> None:
    await yard.submit_script("job", code)
    job = await yard.reaches("job", "failed")
    assert words in (job.message or "")
    assert job.reason == reason


async def test_a_program_that_is_not_there_fails_the_job(yard: Yard) -> None:
    await yard.submit_script("job", "", python="/no/such/python")
    job = await yard.reaches("job", "failed")
    assert "/no/such/python" in (job.message or "")


async def test_code_75_says_that_it_wants_to_go_on(yard: Yard) -> None:
    code = "import os, sys; sys.exit(75 if os.environ['RUNYARD_ATTEMPT'] == '1' else 0)"
    await yard.submit_script("job", code, resumable=True)
    await yard.reaches("job", "completed")
    assert [attempt.exit_code for attempt in await yard.attempts("job")] == [75, 0]


async def test_one_that_knows_nothing_of_pauses_is_paused_all_the_same(yard: Yard, tmp_path: Path) -> None:
    await yard.submit_script("job", WAIT)
    await appears(tmp_path / "ready")
    await yard.ask("job", Cause.PAUSE_ASKED)
    await yard.reaches("job", "paused")
    (tmp_path / "go").touch()
    await yard.ask("job", Cause.RESUME_ASKED)
    await yard.reaches("job", "completed")


async def test_what_it_leaves_is_kept_with_its_checksum(yard: Yard) -> None:
    code = """
import os, pathlib
out = pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"])
(out / "deep").mkdir()
(out / "deep" / "weights.bin").write_bytes(b"1" * 1000)
(out / "config.json").write_text("{}")
(out / "same").symlink_to("config.json")
(out / "elsewhere").symlink_to("/etc/hostname")
"""
    await yard.submit_script("job", code)
    await yard.reaches("job", "completed")
    rundir = RunDir(yard.run("job"))
    files = {event.data["path"]: event.data for event in await yard.feed("job", "artifact")}
    assert set(files) == {"final/deep/weights.bin", "final/config.json", "final/same", "manifest.json"}
    weights = files["final/deep/weights.bin"]
    assert (weights["kind"], weights["size_bytes"]) == ("model", 1000)
    assert weights["sha256"] == hashlib.sha256(b"1" * 1000).hexdigest()
    listed = {entry["path"] for entry in json.loads(rundir.manifest.read_text())["files"]}
    assert listed == set(files) - {"manifest.json"}
    [warning] = await yard.feed("job", "message")
    assert warning.data["text"] == "left out what links to files outside of the run folder: elsewhere"


async def test_what_the_job_did_to_its_environment_does_not_matter_to_the_end(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('this is not the json of Python')")
    line = "cd $OLD && echo x > $RUNYARD_OUTPUT_DIR/x"
    env = {"OLD": str(tmp_path), "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PATH": "/usr/bin:/bin"}
    await yard.submit_script("job", "", file=None, command=line, workdir=str(tmp_path), env=env)
    await yard.reaches("job", "completed")
    assert len(await yard.feed("job", "artifact")) == 2


async def test_files_that_can_not_be_kept_fail_the_job_and_stay(yard: Yard) -> None:
    code = """
import os, pathlib
pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"], "weights").write_text("paid for")
pathlib.Path(os.environ["RUNYARD_RUN_DIR"], "manifest.json").mkdir()
"""
    await yard.submit_script("job", code)
    job = await yard.reaches("job", "failed")
    assert "the script ended well, but its files in" in (job.message or "")
    assert (yard.run("job") / "final" / "weights").read_text() == "paid for"


HALF = """
import os, pathlib, signal, sys, time
pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"], "weights").write_text("half")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path("ready").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"], "weights").write_text("whole")
"""


async def nothing_was_kept(yard: Yard) -> None:
    """The files are where the script left them, and nobody calls them a model."""
    [attempt, *_] = await yard.attempts("job")
    assert attempt.exit_code == 0
    assert await yard.feed("job", "artifact") == []
    assert not RunDir(yard.run("job")).manifest.exists()
    assert (yard.run("job") / "final" / "weights").read_text() == "half"


async def test_code_0_after_a_cancel_is_no_completion(yard: Yard, tmp_path: Path) -> None:
    await yard.restart(grace_seconds=30)
    await yard.submit_script("job", HALF)
    await appears(tmp_path / "ready")
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.reaches("job", "cancelled")
    await nothing_was_kept(yard)


@pytest.mark.parametrize(("limit", "reason"), [("max_runtime", "timeout"), ("stall_timeout", "stalled")])
async def test_code_0_of_one_whose_time_was_over_is_no_completion(
    yard: Yard, tmp_path: Path, limit: str, reason: str
) -> None:
    ready = tmp_path / "ready"
    # No time passes before it listens, however long it takes to start.
    await yard.restart(grace_seconds=30, monotonic=lambda: time.monotonic() if ready.exists() else 0.0)
    await yard.submit_script("job", HALF, limits={limit: 1})
    job = await yard.reaches("job", "failed")
    assert job.reason == reason
    await nothing_was_kept(yard)


async def test_code_0_after_a_pause_is_a_pause_and_the_work_is_done_later(yard: Yard, tmp_path: Path) -> None:
    await yard.submit_script("job", HALF)
    await appears(tmp_path / "ready")
    await yard.ask("job", Cause.PAUSE_ASKED)
    await yard.reaches("job", "paused")
    await nothing_was_kept(yard)
    (tmp_path / "go").touch()
    await yard.ask("job", Cause.RESUME_ASKED)
    await yard.reaches("job", "completed")
    assert (yard.run("job") / "final" / "weights").read_text() == "whole"
    assert len(await yard.feed("job", "artifact")) == 2


async def test_a_shell_that_traps_the_signal_is_cancelled(yard: Yard, tmp_path: Path) -> None:
    line = f"trap 'exit 0' TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done"
    await yard.submit_script("job", "", file=None, command=line)
    await appears(tmp_path / "ready")
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.reaches("job", "cancelled")


async def test_a_pause_that_comes_while_files_are_kept_comes_too_late(yard: Yard) -> None:
    """A file whose checksum takes most of an hour, until it is cut short."""
    code = """
import os, pathlib
with pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"], "weights").open("wb") as file:
    file.truncate(1 << 40)
"""
    await yard.submit_script("job", code)
    await eventually(lambda: yard.feed("job", "phase"))
    await yard.ask("job", Cause.PAUSE_ASKED)
    await appears(RunDir(yard.run("job")).stop_request)
    os.truncate(yard.run("job") / "final" / "weights", 4)
    await yard.reaches("job", "completed")
    assert await yard.states("job") == ["starting", "running", "pausing", "completed"]
    assert len(await yard.attempts("job")) == 1
