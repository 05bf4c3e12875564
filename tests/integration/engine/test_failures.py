"""Programs that fail in known ways, for real, and what the engine makes of it."""

import time
from typing import Any

import pytest

from runyard.db.queries import jobs
from runyard.domain.access import LOCAL
from runyard.domain.lifecycle import State
from runyard.protocol.specs import job_spec
from runyard.services import submissions
from runyard.testing.yard import Yard, eventually

FAILURES: dict[str, tuple[str, str, str]] = {
    "package": ("python3 -c 'import no_such_package'", "missing_package", "No module named 'no_such_package'"),
    "program": ("no-such-program --help", "missing_package", "not found"),
    "memory": ("python3 -c 'bytearray(1 << 60)'", "out_of_memory", "MemoryError"),
    "disk": ('python3 -c \'open("/dev/full", "w", 1).write("x\\n")\'', "disk_full", "No space left on device"),
    "file": ("python3 -c 'open(\"nowhere.csv\")'", "missing_file", "nowhere.csv"),
    "gpu": ("echo 'RuntimeError: CUDA out of memory.' >&2; exit 1", "gpu_out_of_memory", "CUDA out of memory"),
    "killed": ("kill -9 $$", "killed", "most likely main memory ran out"),
    "child": ("sh -c 'kill -9 $$'; exit $?", "killed", "a program of the trainer was ended by SIGKILL"),
    "fault": ("kill -SEGV $$", "killed", "SIGSEGV (Segmentation fault)"),
    "error": ("python3 -c 'assert False, \"wrong\"'", "crashed", "AssertionError: wrong"),
    "code": ("exit 3", "crashed", "ended with code 3: no word"),
}


@pytest.fixture
def backend() -> str:
    """All of this is about processes."""
    return "sqlite"


async def submit(yard: Yard, id_: str, command: str | list[str], **limits: Any) -> None:
    spec = job_spec.validate_python({"kind": "script", "command": command, "limits": {"retries": 0} | limits})
    async with yard.database.write() as session:
        await jobs.add(session, submissions.row(spec, spec, LOCAL, id_, time.time()), "me")
    yard.engine.wake()


@pytest.mark.parametrize("case", FAILURES)
async def test_reasons(running: Yard, case: str) -> None:
    command, reason, message = FAILURES[case]
    await submit(running, "job", command)
    job = await running.reaches("job", "failed")
    assert job.reason == reason, job.message
    assert message in (job.message or "")


async def test_a_program_that_cannot_be_started(running: Yard) -> None:
    await submit(running, "job", ["/no/such/program"])
    job = await running.reaches("job", "failed")
    assert (job.reason, "could not start /no/such/program" in (job.message or "")) == ("not_started", True)


async def test_a_model_whose_code_is_no_longer_trusted_is_not_loaded(running: Yard) -> None:
    model = {"name": "owner/own", "trust_remote_code": True}
    await running.submit("job", spec={"model": model})
    job = await running.reaches("job", "failed")
    assert (job.reason, "RUNYARD_TRUSTED_MODELS" in (job.message or "")) == ("not_started", True)
    assert not (running.run("job") / "attempts").exists()


async def test_advice_is_followed_by_itself_until_it_helps(running: Yard) -> None:
    """Given twice the time, and twice again, it has enough."""
    enough = r"""grep -q '"max_runtime": *4' "$RUNYARD_RUN_DIR/spec.json" || exec sleep 60"""
    await submit(running, "slow", enough, max_runtime=1, apply_advice=True)
    chain = await chain_of(running, "slow")
    assert [job.resolved_spec["limits"]["max_runtime"] for job in chain] == [1, 2, 4]
    assert [job.reason for job in chain] == ["timeout", "timeout", None]
    assert chain[-1].spec["limits"] == {"retries": 0, "max_runtime": 4, "apply_advice": True}
    told = [event.data["text"] for event in await running.feed("slow", "message")]
    assert told[-1].startswith(f"limits.max_runtime: 1.0 -> 2.0: tried again as job {chain[1].id}, from the start")
    assert {move.actor for move in await running.moves(chain[1].id) if move.cause == "submitted"} == {"advice"}


async def chain_of(yard: Yard, id_: str) -> list[Any]:
    """A job, and those that advice made of it, once the last has ended or has no follower."""
    chain = [await yard.job(id_)]

    async def at_rest() -> bool:
        chain[-1] = await yard.job(chain[-1].id)
        if chain[-1].state == State.FAILED:
            notes = [event.data["data"] for event in await yard.feed(chain[-1].id, "message")]
            followers = [note["fixed_by"] for note in notes if "fixed_by" in note]
            if not followers:
                return True
            chain.append(await yard.job(followers[0]))
            return False
        return chain[-1].state == State.COMPLETED

    await eventually(at_rest)
    return chain


async def test_it_is_followed_three_times_at_most(running: Yard) -> None:
    await submit(running, "never", "sleep 60", max_runtime=0.1, apply_advice=True)
    chain = await chain_of(running, "never")
    assert [job.reason for job in chain] == ["timeout"] * 4


async def test_nobody_follows_advice_unasked(running: Yard) -> None:
    await submit(running, "job", "sleep 60", max_runtime=0.1)
    await running.reaches("job", "failed")
    assert len(await chain_of(running, "job")) == 1
