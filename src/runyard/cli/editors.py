"""The JSON Schema of a job file, short forms included."""

import json
from typing import Any

from runyard.protocol.specs import SPEC_CLASSES, job_spec
from runyard.protocol.specs.language import SHORT_FORMS


def schema() -> str:
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Runyard job file",
        **job_spec.json_schema(),
    }
    for spec in SPEC_CLASSES.values():
        definition = document["$defs"][spec.__name__]
        definition["required"] = ["kind", *definition.get("required", ())]
        properties = definition["properties"]
        for section in SHORT_FORMS.keys() & properties.keys():
            full = {name: value for name, value in properties[section].items() if name != "default"}
            properties[section] = {"anyOf": [full, {"type": "string"}]}
    return json.dumps(document, indent=2)
