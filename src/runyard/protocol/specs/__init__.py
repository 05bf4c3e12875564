"""What a job asks for: one class from the YAML file to the trainer."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.protocol.specs.run import RunSpec
from runyard.protocol.specs.script import ScriptSpec

Spec = SftSpec | DpoSpec | ScriptSpec
JobSpec = Annotated[Spec, Field(discriminator="kind")]
job_spec: TypeAdapter[Spec] = TypeAdapter(JobSpec)
SPEC_CLASSES: dict[str, type[RunSpec]] = {"sft": SftSpec, "dpo": DpoSpec, "script": ScriptSpec}
