"""Jobs with places to fill in."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from runyard.domain.filling import NAME
from runyard.protocol.specs import JobSpec
from runyard.schemas.jobs import ChangeRead, Read
from runyard.schemas.people import Ask, Text

LARGEST_VERSION = 2**31 - 1
NAME_OF_TEMPLATE = r"\w(?:[\w .,:+()=@-]{0,98}[\w)+])?"


def _plain(name: str) -> str:
    if not re.fullmatch(NAME_OF_TEMPLATE, name):
        raise ValueError("must be letters, digits, spaces and . , : + ( ) = @ _ -, 100 at most, such as: orders weekly")
    return name


TemplateName = Annotated[
    str, AfterValidator(_plain), WithJsonSchema({"type": "string", "pattern": f"^{NAME_OF_TEMPLATE}$"})
]
"""What stands in addresses, on pages and in terminals as it is."""
VariableName = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Short = Annotated[Text, Field(max_length=10_000)]
Single = Short | bool | int | Annotated[float, Field(allow_inf_nan=False)] | None
Value = Single | Annotated[list[Single], Field(max_length=1000)]
Version = Annotated[int, Field(ge=1, le=LARGEST_VERSION)]


class VariableAsk(Ask):
    description: Text | None = Field(default=None, max_length=500)
    """What it is for; that of the version before unless given."""
    field: str | None = Field(default=None, max_length=200)
    """With `job_id`: the field that becomes this variable, such as `training.learning_rate`, and gives its default."""


class TemplateAsk(Ask):
    """One of `spec`, `yaml` and `job_id`."""

    name: TemplateName
    """A name that there is gets another version."""
    description: Text | None = Field(default=None, max_length=2000)
    """That of the version before unless given."""
    spec: dict[str, Any] | None = None
    """A job with `${NAME}` or `${NAME:-default}` in its texts; `$${` stands for `${` itself."""
    yaml: str | None = Field(default=None, max_length=100_000)
    """The same as the text of a job file."""
    job_id: str | None = Field(default=None, max_length=100)
    """The job whose spec it is to be, as it was asked for."""
    variables: dict[VariableName, VariableAsk] = Field(default_factory=dict, max_length=50)


class TemplateValues(Ask):
    values: dict[VariableName, Value] = Field(default_factory=dict, max_length=50)
    """Of its variables. A text is read as in a job file: `5` is a number, `"5"` is text."""
    version: Version | None = None
    """The newest unless set."""


class TemplateSubmit(TemplateValues):
    spec: JobSpec | None = None
    """The job as it came of the template and was changed since; filled in by `values` unless given."""


class VariableRead(Read):
    name: str
    default: str | None
    """As written; null for one that has to be given."""
    description: str | None
    fields: list[str]
    """Where it stands."""


class TemplateRead(Read):
    name: str
    version: int
    """Counted from 1."""
    kind: str
    description: str | None
    variables: list[VariableRead]
    user: str
    """Whose it is."""
    saved_by: str
    """Who saved this version."""
    job_id: str | None
    """The job that it was saved from."""
    created_at: float


class TemplateDetail(TemplateRead):
    spec: dict[str, Any]


class FilledRead(BaseModel):
    name: str
    version: int
    spec: dict[str, Any]
    """A job that can be submitted as it is."""


class DifferenceRead(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    version: int
    changes: list[ChangeRead] | None
    """From the template with its defaults to the job; null when the template was deleted."""
