"""Whole files: formats, damage, counts."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runyard.data import DataError
from runyard.data.check import check
from runyard.data.sources import Source, eval_source
from runyard.protocol.specs.language import DataSpec

GOOD = {"prompt": "Hi", "completion": "Hello"}
OTHER = {"prompt": "Bye", "completion": "Farewell"}
LINE = json.dumps(GOOD)
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def messages(path: Path, **options: Any) -> list[str]:
    return [str(problem).removeprefix(f"{path}:") for problem in check(Source(str(path)), **options).problems]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", "", "has no rows: the file is empty"),
        ("a.jsonl", "\n \n", "has no rows"),
        ("a.csv", "", "has no rows: the file is empty"),
        ("a.csv", "prompt,completion\n", "has no rows"),
        ("a.jsonl", b"\x00\x01\x02 binary", "is binary, not text"),
        ("a.jsonl", gzip.compress(LINE.encode(), mtime=0), "is compressed (gzip): unpack it first"),
        ("a.csv", b"PK\x03\x04 the rest", "is a ZIP archive or an office document"),
        ("a.jsonl", LINE.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("a.parquet", LINE, "is not a Parquet file"),
        ("a.parquet", b"PAR1 and nothing else", "is a damaged Parquet file"),
        ("a.json", json.dumps([GOOD]), "is one JSON list: write one object a line"),
        ("a.json", json.dumps(GOOD, indent=2), "spreads objects over several lines"),
        ("a.xlsx", "some text", "is of no known format: use .jsonl, .csv or .parquet"),
        ("a.csv", "prompt,prompt\na,b\n", "the header names a column twice: prompt"),
    ],
)
def test_file_that_can_not_be_used(write: Write, name: str, content: str | bytes, expected: str) -> None:
    path = write(name, content)
    report = check(Source(str(path)))
    assert expected in str(report.problems[0])
    assert report.problems[0].file == str(path)
    assert report.kinds == []
    with pytest.raises(DataError):
        report.require(drop_bad_rows=True)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"prompt": "Hi", "completion": ', "2: is not valid JSON: Expecting value at column 31"),
        ("not json", "2: is not valid JSON"),
        ("[1, 2]", "2: must be a JSON object, {...}, but is a list"),
        ("null", "2: must be a JSON object, {...}, but is null"),
        ("[" * 100_000, "2: is not valid JSON"),
        ('{"prompt": "Hi"}', "2: has no 'completion'; found: prompt"),
        ('{"prompt": "Hi", "completions": "x"}', "2: has no 'completion'; did you mean 'completions'?"),
        ('{"text": "Hi"}', "2: is text, but the rows before it are prompt-completion: keep one shape in one file"),
        (
            '{"prompt": [{"role": "user", "content": "a"}], "completion": "b"}',
            "2: is messages, but the rows before it are plain text",
        ),
        ('{"prompt": "Hi", "completion": "\\ud83d"}', "2: holds half of a Unicode character"),
        ('{"prompt": "Hi", "completion": "caf\xe9"}'.encode("latin-1"), "2: is not UTF-8 text (byte 0xe9 at position"),
        ('{"prompt": "Hi", "completion": "' + "x" * 10**7 + '"}', "2: the row is 9.5 MiB long; more than 8 MiB"),
    ],
)
def test_bad_line_is_named_and_the_rest_is_read(write: Write, row: str | bytes, expected: str) -> None:
    raw = row if isinstance(row, bytes) else row.encode()
    path = write("a.jsonl", LINE.encode() + b"\n" + raw + b"\n\n" + json.dumps(OTHER).encode())
    report = check(Source(str(path)))
    assert str(report.problems[0]).removeprefix(f"{path}:").startswith(expected)
    assert (report.rows, report.bad, report.kinds) == (3, 1, ["sft"])
    report.require(drop_bad_rows=True)
    with pytest.raises(DataError, match=r"a\.jsonl:2: "):
        report.require()


def test_missing_file_names_what_is_there(write: Write, tmp_path: Path) -> None:
    write("train.jsonl", LINE)
    missing = tmp_path / "trian.jsonl"
    assert messages(missing) == [" there is no such file; the folder holds: train.jsonl"]
    nowhere = tmp_path / "x" / "a.csv"
    assert "the folder" in messages(nowhere)[0]
    assert "is a folder" in messages(tmp_path)[0]


def test_byte_order_mark_and_windows_line_ends_are_no_problem(write: Write) -> None:
    for name, content in (("a.jsonl", f"\ufeff{LINE}\r\n"), ("a.csv", "\ufeffprompt,completion\r\nHi,Hello\r\n")):
        report = check(Source(str(write(name, content))))
        assert (report.rows, report.problems, report.shape) == (1, [], "prompt-completion")


def test_format_is_found_by_content_when_there_is_no_ending(write: Write, tmp_path: Path) -> None:
    assert check(Source(str(write("upload", lines(GOOD))))).format == "jsonl"
    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "other")
    assert check(Source(str(tmp_path / "other"))).format == "parquet"


def test_every_row_is_counted_and_equal_problems_are_told_once(write: Write) -> None:
    bad = [{"prompt": "Hi", "completion": ""}] * 30
    report = check(Source(str(write("a.jsonl", lines(GOOD, *bad, GOOD, OTHER)))))
    assert (report.rows, report.bad, report.duplicates) == (33, 30, 1)
    assert report.lengths is not None
    assert sum(bucket.rows for bucket in report.lengths.buckets) == 3, "of the good ones alone"
    assert [str(p.message) for p in report.problems] == ["is empty (and 29 more rows like this)"]
    assert (report.problems[0].line, report.problems[0].field) == (2, "completion")


def test_at_most_twenty_problems_are_listed(write: Write) -> None:
    rows = [{"messages": [{"role": f"r{number}", "content": "x"}]} for number in range(50)]
    report = check(Source(str(write("a.jsonl", lines(*rows)))))
    assert (len(report.problems), report.bad) == (20, 50)


def test_pairs_that_are_all_the_same_are_refused(write: Write) -> None:
    pair = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
    path = write("a.jsonl", lines(pair, pair, pair))
    report = check(Source(str(path)), "dpo")
    assert [problem.message for problem in report.problems] == ["holds one and the same pair 3 times"]
    with pytest.raises(DataError):
        report.require(drop_bad_rows=True)
    check(Source(str(write("b.jsonl", lines(pair)))), "dpo").require()


def test_csv_fields_with_line_breaks_and_semicolons(write: Write) -> None:
    path = write("a.csv", 'prompt;completion\n"two\nlines";yes\none;two;three\n\n"open;no\n')
    report = check(Source(str(path)))
    assert (report.rows, report.bad, report.columns) == (3, 2, ["prompt", "completion"])
    assert [str(problem).removeprefix(f"{path}:") for problem in report.problems] == [
        "4: has 3 fields, but the header has 2",
        "6: is not valid CSV: unexpected end of data; is a quote open?",
    ]


def test_csv_row_of_ten_megabytes(write: Write) -> None:
    path = write("a.csv", f"prompt,completion\nHi,{'x' * 10**7}\nHi,{'y' * 200_000}\n")
    report = check(Source(str(path)))
    assert (report.rows, report.bad, report.problems[0].line) == (2, 1, 2)
    assert "more than 8 MiB" in report.problems[0].message


def test_parquet_rows_with_nested_messages(tmp_path: Path) -> None:
    call = {"function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    conversation = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "sunny", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is sunny.", "weight": 1},
    ]
    short = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"messages": conversation}, {"messages": short}]), path)
    report = check(Source(str(path)))
    assert (report.rows, report.bad, report.shape, report.conversations) == (2, 1, "messages", True)
    assert messages(path) == ["2: messages[1].content: must be text, but is null"]


def test_columns_and_max_rows(write: Write) -> None:
    path = write("a.csv", "question,answer\nHi,Hello\nBye,\n")
    source = Source(str(path), {"prompt": "question", "completion": "answer"}, max_rows=1)
    assert (check(source, "sft").rows, check(source, "sft").problems) == (1, [])
    wrong = check(Source(str(path), {"prompt": "qestion"}), "sft")
    assert "did you mean 'question'" in wrong.problems[0].message
    assert "set data.columns to {prompt: question, completion: answer}" in messages(path, kind="sft")[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dataset:abc", "is an upload, which only a job on its server can use"),
        ("no such thing!", "is neither a file (.jsonl, .csv or .parquet) nor a hub name (owner/name)"),
    ],
)
def test_names_that_mean_nothing(name: str, expected: str) -> None:
    assert expected in str(check(Source(name)).problems[0])


def test_evaluation_on_the_hub_names_its_split() -> None:
    source = eval_source(DataSpec(train="a.jsonl", eval="owner/name"))
    assert source is not None
    assert "say which split to evaluate on, such as owner/name:test" in str(check(source).problems[0])


@pytest.mark.llm
@pytest.mark.filterwarnings("ignore")
def test_unreachable_hub_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    report = check(Source("runyard-no-such-owner/no-such-set"))
    assert "hub" in str(report.problems[0])
    assert report.problems[0].file == "runyard-no-such-owner/no-such-set"


def run(arguments: Iterable[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runyard.data", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_prints_a_report_and_fails_only_for_its_arguments(write: Write) -> None:
    path = write("a.jsonl", lines(GOOD, {"prompt": ""}))
    done = run([str(path), "--kind", "sft"])
    report = json.loads(done.stdout)
    assert (done.returncode, report["rows"], report["bad"], report["kinds"]) == (0, 2, 1, ["sft"])
    assert report["size_bytes"] == path.stat().st_size
    assert report["problems"][0]["line"] == 2
    assert run([str(path), "--kind", "poetry"]).returncode == 2
    assert run([str(path), "--column", "prompt"]).returncode == 2


def test_check_needs_no_heavy_library() -> None:
    code = "import sys, runyard.data.check; print([m for m in ('pyarrow','datasets','torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
