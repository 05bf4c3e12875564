"""Uploads: kept once, checked row by row, and refused where a job can't use them."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runyard.server.deps import Yard

GOOD = b'{"prompt": "a", "completion": "b"}\n'
PAIRS = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "d", "chosen": "e", "rejected": "f"}\n'


@pytest.fixture
def backend() -> str:
    """Where a test does not say otherwise: most of this is about files."""
    return "sqlite"


def stored(yard: Yard) -> list[Path]:
    return sorted(path for path in yard.context.datasets.rglob("*") if path.is_file())


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_an_upload_is_kept_as_it_came_with_its_report(api: Any, yard: Yard) -> None:
    content = GOOD * 3 + PAIRS.splitlines()[0] + b"\n"
    answer = await api.upload("Orders 2024.JSONL", content)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["name"], body["format"], body["rows"], body["size_bytes"]) == (
        "Orders 2024.jsonl",
        "jsonl",
        4,
        len(content),
    )
    assert body["report"]["problems"][0]["line"] == 4
    assert str(yard.context.home) not in answer.text
    [file] = stored(yard)
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
    assert (await api.get(answer.headers["location"])).json() == body
    assert (await api.get("/api/v1/datasets")).json()["items"] == [body]


async def test_the_same_content_and_name_is_kept_once(api: Any, yard: Yard) -> None:
    first = await api.upload("a.jsonl", GOOD)
    again = await api.upload("a.jsonl", GOOD)
    renamed = await api.upload("a.jsonl", GOOD, name="b")
    changed = await api.upload("a.jsonl", GOOD * 2)
    assert [answer.status_code for answer in (first, again, renamed, changed)] == [201, 200, 201, 201]
    assert first.json()["id"] == again.json()["id"]
    assert renamed.json()["name"] == "b.jsonl"
    assert len(stored(yard)) == 3


async def test_uploads_at_once_are_kept_once(api: Any, yard: Yard) -> None:
    answers = await asyncio.gather(*(api.upload("a.jsonl", GOOD) for _ in range(3)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stored(yard)) == 1
    assert len(os.listdir(yard.context.datasets)) == 1


async def test_files_that_hold_nothing_usable_are_refused_and_gone(api: Any, yard: Yard) -> None:
    cases = {
        "empty.jsonl": (b"", "no rows"),
        "blank.jsonl": (b"\n\n", "no rows"),
        "binary.jsonl": (bytes(range(256)) * 100, "binary"),
        "packed.jsonl": (b"\x1f\x8b" + os.urandom(1000), "compressed"),
        "binary.csv": (b"a,b\n\0\0\0\n", "binary"),
        "not.parquet": (b"PARQUET", "Parquet"),
        "broken.parquet": (b"PAR1" + os.urandom(1000), ""),
        "header.csv": (b"prompt,completion\n", "no rows"),
        "text.jsonl": (b"once upon a time\n" * 10, ""),
    }
    for name, (content, message) in cases.items():
        answer = await api.upload(name, content)
        assert answer.status_code == 422, f"{name}: {answer.text}"
        problem = answer.json()["problems"][0]
        assert problem["file"] == name
        assert message in problem["message"], f"{name}: {problem}"
        assert str(yard.context.home) not in answer.text
    assert os.listdir(yard.context.datasets) == []
    assert (await api.get("/api/v1/datasets")).json()["items"] == []


async def test_names_are_made_harmless(api: Any, yard: Yard) -> None:
    for number, given in enumerate(
        ["../../up.jsonl", "C:\\x\\up.jsonl", "/etc/up.jsonl", "a\0\n;$(id)/up.jsonl", ".up.jsonl"]
    ):
        answer = await api.upload(given, GOOD * (number + 1))
        assert answer.status_code == 201, f"{given!r}: {answer.text}"
        assert answer.json()["name"] == "up.jsonl", given
    odd = await api.upload("a;|b\u202ec\u00e9.csv", b"prompt,completion\na,b\n")
    assert odd.json()["name"] == "a__b_cé.csv", "letters of any language stay"
    long = await api.upload("x" * 500 + ".jsonl", GOOD)
    assert len(long.json()["name"]) < 120
    for given in ("noending", "a.exe", ".jsonl", "a.jsonl.gz", ""):
        answer = await api.upload(given, GOOD)
        assert answer.status_code == 422, given
    assert all(file.resolve().is_relative_to(yard.context.datasets) for file in stored(yard))


async def test_an_upload_over_the_limit_is_refused_and_gone(api: Any, yard: Yard) -> None:
    answer = await api.upload("large.jsonl", b"x" * 20_000_001)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert os.listdir(yard.context.datasets) == []


async def test_no_room_for_an_upload(api: Any, yard: Yard) -> None:
    object.__setattr__(yard.context, "min_free", 1 << 60)
    answer = await api.upload("a.jsonl", GOOD)
    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")
    assert os.listdir(yard.context.datasets) == []


async def test_forms_that_are_none(api: Any, yard: Yard) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + GOOD
    whole = b"multipart/form-data; boundary=b"
    for content_type, body in [
        (b"multipart/form-data", part + b"\r\n--b--\r\n"),
        (whole, part),
        (whole, b"--c\r\n"),
        (whole, b""),
        (whole, b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'),
        (whole, part + b"\r\n" + part + b"\r\n--b--\r\n"),
        (
            whole,
            b"".join(b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' for _ in range(100))
            + b"--b--\r\n",
        ),
        (b"application/json", b"{}"),
    ]:
        answer = await api.post("/api/v1/datasets", content=body, headers={"content-type": content_type.decode()})
        assert answer.status_code == 422, body
    assert os.listdir(yard.context.datasets) == []


async def test_a_row_of_ten_megabytes_is_kept(api: Any) -> None:
    answer = await api.upload("wide.jsonl", b'{"prompt": "a", "completion": "' + b"x" * 10_000_000 + b'"}\n')
    assert answer.status_code in (201, 422), answer.text
    if answer.status_code == 422:
        assert answer.json()["problems"][0]["line"] == 1


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_a_data_set_that_a_job_needs_stays(api: Any, engine: Any, yard: Yard) -> None:
    job_id = await api.job()
    path = f"/api/v1/datasets/{await api.dataset()}"
    refused = await api.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert job_id in refused.json()["detail"]
    await engine.complete(job_id)
    assert (await api.delete(path)).status_code == 204
    assert os.listdir(yard.context.datasets) == []
    assert (await api.get(path)).status_code == 404


async def test_jobs_get_only_data_they_can_train_on(api: Any) -> None:
    bad = (await api.upload("bad.jsonl", GOOD + b'{"prompt": "a"}\n' + GOOD)).json()["id"]
    pairs = (await api.upload("pairs.jsonl", PAIRS)).json()["id"]
    other = (await api.upload("other.csv", b"question,answer\na,b\nc,d\n")).json()["id"]

    refused = await api.submit(data=f"dataset:{bad}")
    assert refused.status_code == 422
    assert (refused.json()["problems"][0]["file"], refused.json()["problems"][0]["line"]) == ("bad.jsonl", 2)
    assert (await api.submit(data={"train": f"dataset:{bad}", "drop_bad_rows": True})).status_code == 201

    assert "the job is sft" in (await api.submit(data=f"dataset:{pairs}")).json()["problems"][0]["message"]
    assert (await api.submit(kind="dpo", data=f"dataset:{pairs}")).status_code == 201

    unnamed = await api.submit(data=f"dataset:{other}")
    assert unnamed.status_code == 422
    assert "question" in str(unnamed.json()["problems"])
    columns = {"prompt": "question", "completion": "answer"}
    assert (await api.submit(data={"train": f"dataset:{other}", "columns": columns})).status_code == 201


async def test_data_by_name_and_by_allowed_path(api: Any, yard: Yard, tmp_path: Path) -> None:
    await api.upload("one.jsonl", GOOD)
    assert (await api.submit(data="dataset:one.jsonl")).status_code == 201
    await api.upload("one.jsonl", GOOD * 2)
    twice = await api.submit(data="dataset:one.jsonl")
    assert "2 data sets are called" in twice.json()["problems"][0]["message"]

    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(GOOD)
    (folder / "bad.jsonl").write_bytes(b"{}\n")
    (folder / "model").mkdir()
    assert (await api.submit(data=str(folder / "rows.jsonl"))).status_code == 422
    object.__setattr__(yard.context, "allowed_paths", (folder,))
    assert (await api.submit(data=str(folder / "rows.jsonl"))).status_code == 201
    assert (await api.submit(data=str(folder / "rows.jsonl"), model=str(folder / "model"))).status_code == 201
    refused = await api.submit(data=str(folder / "bad.jsonl"))
    assert refused.json()["problems"][0]["line"] == 1
    assert (await api.submit(data=str(folder / "missing.jsonl"))).status_code == 422


@pytest.mark.llm
async def test_a_small_file_that_grows_beyond_all_memory_is_refused_and_says_so(
    api: Any, yard: Yard, tmp_path: Path
) -> None:
    """300 MB of one row that lie on the disk as some kilobytes."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "grows.parquet"
    table = pyarrow.table({"prompt": ["x" * (300 << 20)], "completion": ["y"]})
    parquet.write_table(table, file, compression="zstd")
    assert file.stat().st_size < 1 << 20
    object.__setattr__(yard.context, "check_memory", 600 << 20)
    answer = await api.upload("grows.parquet", file.read_bytes())
    assert answer.status_code == 422, answer.text
    assert "more than 600 MiB of memory" in answer.json()["problems"][0]["message"]
    assert list(yard.context.datasets.iterdir()) == []
    assert (await api.upload("small.jsonl")).status_code == 201, "what is small needs no more than before"


async def test_one_line_of_300_megabytes_is_no_row(api: Any, yard: Yard) -> None:
    object.__setattr__(yard.context, "upload_limit", 400 << 20)
    object.__setattr__(yard.context, "check_memory", 128 << 20)
    answer = await api.upload("long.jsonl", b'{"prompt": "' + b"x" * (300 << 20) + b'"}\n')
    assert answer.status_code == 422, answer.text
    assert "300.0 MiB long" in answer.text
