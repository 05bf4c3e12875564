"""Lists: lines for programs in a pipe, and a word about what is not shown for people."""

import json

import pytest

from runyard.cli import output
from runyard.protocol.problems import Problem
from runyard.schemas.page import Page

THINGS = Page(items=[Problem(message="a"), Problem(message="b")], next_cursor="more")
EMPTY: Page[Problem] = Page(items=[], next_cursor=None)


def show(page: Page[Problem], *, json: bool = False) -> None:
    output.listing(page, ("MESSAGE", "FIELD"), lambda it: (it.message, it.field), json=json, nothing="nothing yet")


def test_a_pipe_gets_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show(THINGS)
    show(EMPTY)
    assert capsys.readouterr().out == "a\t\nb\t\n"


def test_a_person_is_told_that_there_is_more_or_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    show(THINGS)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert (first.split(), last) == (["MESSAGE", "FIELD"], "… and older ones: --limit 4")
    show(EMPTY)
    assert capsys.readouterr().out == "nothing yet\n"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(THINGS, json=True)
    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]


def test_a_cell_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("A", "B"), [("a\tb\nc", "\x1b[31mred\u202e"), ("ä · …", None)])
    assert capsys.readouterr().out == "a\\tb\\nc\t\\x1b[31mred\\u202e\nä · …\t\n"
