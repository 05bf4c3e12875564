"""A job file with the options of the command line, and names made from it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard.protocol.specs import Spec


def load(
    path: Path, overrides: Sequence[str] | None = None, *, name: str | None = None, priority: str | None = None
) -> "Spec":
    """Raises JobFileError with every problem found."""
    import json

    from runyard.sdk import jobfile

    # As JSON text, so that a name such as 2024 stays text.
    extra = [f"{field}={json.dumps(value)}" for field, value in (("name", name), ("priority", priority)) if value]
    return jobfile.load(path, [*(overrides or ()), *extra])


def missing_libraries() -> str | None:
    """What to do when this machine can't train."""
    from importlib.util import find_spec

    if find_spec("torch") and find_spec("transformers"):
        return None
    return "training libraries are not installed here: pip install 'runyard[llm]'"


def folder_name(name: str, what: str) -> Path:
    """Such as orders-sft-model, in this folder."""
    words = re.findall(r"[\w.]+", name.lower())
    return Path("-".join([*words, what]).lstrip("."))
