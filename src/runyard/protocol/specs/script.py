"""Programs of a team's own."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from runyard.protocol.specs.run import RunSpec

OURS = "RUNYARD_"
"""How the variables begin that every job is given."""
LONGEST_TITLE = 80
SECRET = "secret:"
"""How a value begins that is the name of a secret."""
SECRET_NAME = r"[A-Z][A-Z0-9_]{0,63}"


def _text(value: Any) -> Any:
    """`1.10` would become `1.1` on its way through a number."""
    if isinstance(value, bool | int | float):
        raise ValueError("is a number or a truth value, and must be text: put it in quotes")
    return value


Word = Annotated[str, BeforeValidator(_text)]


class ScriptSpec(RunSpec):
    """A program of your own: a Python file, or any command."""

    kind: Literal["script"] = "script"
    file: str | None = Field(default=None, min_length=1)
    """A Python file; set either this or command."""
    command: str | list[str] | None = None
    """A line for /bin/sh (begin its last program with exec, so that it is that one that hears of a pause), or a list
    of words that are passed on as they are."""
    args: list[Word] = Field(default_factory=list)
    """Words after the file's name."""
    env: dict[str, Word] = Field(default_factory=dict)
    """Environment variables, beside those that every job gets. Whoever may see the job sees them; a secret is named
    as secret:HF_TOKEN, and its value is the trainer's alone."""
    workdir: str | None = Field(default=None, min_length=1)
    """Folder to run in; that of the file, or the job's run folder, unless set."""
    python: str | None = Field(default=None, min_length=1)
    """Interpreter for the file, such as .venv/bin/python; the one that Runyard runs in unless set."""
    resumable: bool = False
    """On SIGTERM it saves and leaves, and when it is started again it goes on from there: it may be paused for an
    urgent job."""

    @field_validator("command", mode="before")
    @classmethod
    def line_or_words(cls, value: Any) -> Any:
        words = value if isinstance(value, list | tuple) else [value]
        if value is not None and not (words and words[0] and all(isinstance(word, str) for word in words)):
            raise ValueError("must be a line of text, or a list of words (numbers in quotes)")
        return value

    @field_validator("env")
    @classmethod
    def names_are_free(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if name.startswith(OURS):
                raise ValueError(f"{name} is set by Runyard itself: choose a name that does not begin with {OURS}")
            if not name or "=" in name:
                raise ValueError(f"{name!r} can't be the name of an environment variable")
        return env

    @field_validator("env")
    @classmethod
    def secrets_are_named(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if value.startswith(SECRET) and not re.fullmatch(SECRET + SECRET_NAME, value):
                raise ValueError(
                    f"{name} names no secret: write it as {SECRET}HF_TOKEN, in capital letters, digits and _"
                )
        return env

    @model_validator(mode="after")
    def one_program(self) -> "ScriptSpec":
        if (self.file is None) == (self.command is None):
            raise ValueError("set either file (a Python file) or command")
        if self.command is not None:
            for name in ("args", "python"):
                if getattr(self, name):
                    raise ValueError(f"{name} belongs to file: write it into the command")
        return self

    @property
    def secrets(self) -> dict[str, str]:
        """Names of secrets, by the variable that is to hold the value."""
        return {name: value.removeprefix(SECRET) for name, value in self.env.items() if value.startswith(SECRET)}

    @property
    def title(self) -> str:
        """Such as `train.py`, or the beginning of the command."""
        words = self.command if isinstance(self.command, list) else [self.command or ""]
        text = Path(self.file).name if self.file else " ".join(" ".join(words).split())
        return (text[: LONGEST_TITLE - 1] + "…" if len(text) > LONGEST_TITLE else text) or "script"
