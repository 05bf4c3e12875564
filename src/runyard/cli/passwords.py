"""Passwords as people give them: typed unseen, or one line of standard input."""

import sys
from getpass import getpass

import typer

SHORTEST, LONGEST = 10, 200


def known(prompt: str, *, stdin: bool = False) -> str:
    """One that exists."""
    if _typed(stdin):
        return getpass(f"{prompt}: ")
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise typer.BadParameter("there is no password on standard input")
    return text


def new(prompt: str, *, stdin: bool = False) -> str:
    """One that is chosen now: typed twice."""
    chosen = known(prompt, stdin=stdin)
    if not SHORTEST <= len(chosen) <= LONGEST:
        raise typer.BadParameter(f"a password must have {SHORTEST} to {LONGEST} characters")
    if _typed(stdin) and getpass("The same again: ") != chosen:
        raise typer.BadParameter("these were two different passwords")
    return chosen


def _typed(stdin: bool) -> bool:
    return not stdin and sys.stdin.isatty()
