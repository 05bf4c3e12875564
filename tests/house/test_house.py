"""Rules of the house that no other tool checks."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "runyard"
MODULES = sorted(p for p in SOURCE.rglob("*.py") if "versions" not in p.parts)
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc", "tools"}
MOST_LINES = 400
MOST_FUNCTION_LINES = 60


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def ids(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES, "questioned at 250 lines, never over 400"
    for function in functions(ast.parse(text)):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= MOST_FUNCTION_LINES, f"{function.name} has {lines} lines"


def test_every_name_promises_something() -> None:
    parts = {part.removesuffix(".py") for path in MODULES for part in path.relative_to(SOURCE).parts}
    assert not parts & EMPTY_NAMES


def test_a_state_is_changed_in_one_place() -> None:
    """Only db/queries/jobs assigns a job's state, through domain.lifecycle.move."""
    elsewhere = [
        f"{ids(path)}:{node.lineno}"
        for path in MODULES
        if ids(path) != "db/queries/jobs.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Attribute) and target.attr == "state" for target in node.targets)
    ]
    assert not elsewhere


def test_only_the_edge_commits() -> None:
    commits = {ids(path) for path in MODULES if re.search(r"\.commit\(\)", path.read_text())}
    assert commits <= {"db/database.py"}


def test_only_programs_touch_the_environment() -> None:
    """Settings are made from what the command line hands over; some of ours are programs of their own."""
    programs = {
        "cli/options.py",
        "cli/serve.py",
        "cli/train.py",
        "reporting.py",
        "sdk/connection.py",  # for a program of the user's, which nothing of ours has started
        "testing/live.py",
        "executors/launcher.py",
        "executors/wrapper.py",
    }
    programs |= {"trainers/__main__.py", "trainers/quiet.py"}
    touching = {ids(path) for path in MODULES if re.search(r"\bos\.(environ|getenv)\b", path.read_text())}
    assert touching <= programs


def test_every_public_function_of_the_protocol_says_what_it_does() -> None:
    silent = [
        f"{ids(path)}:{function.name}"
        for path in MODULES
        if path.is_relative_to(SOURCE / "protocol")
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef)
        and not function.name.startswith("_")
        and not ast.get_docstring(function)
    ]
    assert not silent


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 700
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / target).exists(), f"README links to {target}"
