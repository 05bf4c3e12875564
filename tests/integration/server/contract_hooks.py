"""Loaded by the program that plays requests against the API: every other path names something that is there."""

import json
import os
from pathlib import Path
from typing import Any

import schemathesis

KNOWN: dict[str, str] = json.loads(Path(os.environ["CONTRACT_KNOWN"]).read_text())


@schemathesis.hook
def map_path_parameters(_: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    if not parameters:
        return parameters
    return {name: KNOWN[name] if name in KNOWN and len(str(value)) % 2 else value for name, value in parameters.items()}
