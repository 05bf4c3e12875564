"""What a job was given is covered in its logs and downloads, wherever they are cut."""

import asyncio
import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.protocol.rundir import RunDir
from runyard.server import zips
from runyard.server.deps import Yard
from runyard.services import logs, secrets
from runyard.services.logs import Reader

TOKEN = "hf_hunter2hunter2"
KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nq8Zr\n-----END KEY-----\n"
STARS = "*" * len(TOKEN)


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
async def job_id(api: Any) -> str:
    return str(await api.job())


@pytest.fixture
def rundir(yard: Yard, job_id: str) -> RunDir:
    rundir = yard.context.rundir(job_id)
    rundir.attempt(1).mkdir(parents=True)
    secrets.note_given(rundir, [TOKEN, KEY], yard.context)
    return rundir


def write(rundir: RunDir, text: str, stream: str = "stdout", attempt: int = 1) -> Path:
    file = rundir.attempt(attempt) / f"{stream}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write(text)
    return file


async def lines(api: Any, job_id: str, **query: Any) -> list[str]:
    answer = await api.get(f"/api/v1/jobs/{job_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["lines"])


async def test_lines_come_without_it_however_they_are_asked_for(api: Any, job_id: str, rundir: RunDir) -> None:
    write(rundir, f"first\ntoken {TOKEN}.\n" + KEY + "last\n")
    write(rundir, f"{KEY!r}\n", "stderr")
    covered = ["first", f"token {STARS}.", "*" * 19, "*" * 16, "****", "*" * 17, "last"]
    assert await lines(api, job_id, stream="stdout") == covered
    assert await lines(api, job_id, stream="stderr") == [f"'{'*' * len(repr(KEY)[1:-1])}'"]
    for offset in range(len(f"first\ntoken {TOKEN}.\n")):
        assert TOKEN[-6:] not in "".join(await lines(api, job_id, stream="stdout", offset=offset))


async def test_those_who_follow_see_none_of_it_either(api: Any, job_id: str, rundir: RunDir, engine: Any) -> None:
    seen = []

    async def follow() -> None:
        async with api.stream("GET", f"/api/v1/jobs/{job_id}/logs", params={"follow": True}) as answer:
            seen.extend([line async for line in answer.aiter_lines()])

    following = asyncio.create_task(follow())
    write(rundir, f"a {TOKEN[:7]}")
    await asyncio.sleep(0.3)  # it must not be shown meanwhile: there is nothing to wait for
    write(rundir, f"{TOKEN[7:]}\n")
    write(rundir, f"b {TOKEN}\n", attempt=2)
    await engine.complete(job_id)
    await following
    assert seen == [f"a {STARS}", f"b {STARS}"]


async def test_a_very_long_line_is_not_cut_within_it(yard: Yard, rundir: RunDir) -> None:
    """One that nothing ends yet is shown piece by piece."""
    reader = Reader(rundir, "stdout", lambda: secrets.mask(rundir, yard.context))
    size = logs.LONGEST_LINE_BYTES
    write(rundir, "x" * size + TOKEN[:7])
    shown = "".join(reader.read(ended=False))
    write(rundir, TOKEN[7:] + "y")
    shown += "".join(reader.read(ended=True))
    assert shown == "x" * size + STARS + "y"


@pytest.mark.parametrize("shift", [*range(0, len(TOKEN) + 2, 3), len(TOKEN)])
async def test_a_download_has_none_of_it_where_it_is_sent_in_pieces(
    api: Any, job_id: str, rundir: RunDir, shift: int
) -> None:
    before = zips.PIECE_BYTES - shift
    file = write(rundir, "x" * before + TOKEN + "y" * (zips.PIECE_BYTES - shift) + TOKEN)
    await asyncio.to_thread(rundir.events.write_text, f'{{"text":"{KEY}"}}\n'.replace("\n", "\\n"))
    answer = await api.get(f"/api/v1/jobs/{job_id}/download/logs")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        sums = archive.read("SHA256SUMS").decode()
        content = {name: archive.read(name) for name in archive.namelist() if name != "SHA256SUMS"}
    log = content["attempts/1/stdout.log"]
    assert len(log) == file.stat().st_size
    assert log == b"x" * before + STARS.encode() + b"y" * (zips.PIECE_BYTES - shift) + STARS.encode()
    assert not [line for line in KEY.splitlines() if line.encode() in content["events.jsonl"]]
    assert {f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in content.items()} == set(sums.splitlines())


async def test_it_stays_covered_when_the_secret_is_another_or_gone(
    api: Any, yard: Yard, job_id: str, rundir: RunDir
) -> None:
    """What a run was given is noted with the run, for each attempt."""
    secrets.note_given(rundir, ["another-value"], yard.context)
    secrets.note_given(rundir, ["another-value"], yard.context)
    assert len(rundir.secrets.read_bytes().splitlines()) == 2
    write(rundir, f"{TOKEN} another-value\n", attempt=2)
    assert await lines(api, job_id) == [f"{STARS} *************"]
    assert not any(TOKEN.encode() in path.read_bytes() for path in rundir.root.glob("*") if path.is_file())


@pytest.mark.parametrize("broken", ["other key", "other run", "no text", "half"])
async def test_where_it_can_not_be_known_any_more_nothing_is_shown(
    api: Any, yard: Yard, job_id: str, rundir: RunDir, broken: str
) -> None:
    write(rundir, f"{TOKEN}\n")
    other = yard.context.rundir("other")
    other.root.mkdir()
    secrets.note_given(other, [TOKEN], yard.context)
    contents = {
        "other run": other.secrets.read_bytes(),
        "no text": b"nonsense\n",
        "half": rundir.secrets.read_bytes()[:50],
    }
    if broken == "other key":
        rundir.secrets.unlink()
        secrets.note_given(rundir, [TOKEN], replace(yard.context, private_key=bytes(32)))
    else:
        rundir.secrets.write_bytes(contents[broken])
    for path in ("logs", "download/logs"):
        answer = await api.get(f"/api/v1/jobs/{job_id}/{path}")
        assert answer.status_code == 409
        assert "secret.key" in answer.json()["hint"]
        assert TOKEN not in answer.text
    assert secrets.mask(rundir, yard.context).hide(b"abc") == b"***"
