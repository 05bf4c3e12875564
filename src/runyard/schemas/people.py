"""Accounts, sessions, keys, tenants, quotas, secrets, and the audit log."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runyard.domain.access import Role, Scope, Via
from runyard.domain.quotas import Quota
from runyard.schemas.jobs import Read


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds the character NUL")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""What every database can hold."""
Name = Annotated[Text, Field(min_length=1, max_length=128)]
Password = Annotated[str, Field(min_length=1, max_length=1000)]
Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SignIn(Ask):
    name: Name
    password: Password


class SessionRead(Read):
    """Who asks, and what may be done with what was sent along."""

    user: str
    tenant: str
    role: Role
    operator: bool
    """May also do what concerns the whole installation."""
    scope: Scope
    """How much of that the key may do."""
    via: Via
    expires_at: float | None
    csrf_token: str | None = None
    """For a cookie: to be sent with every change as the header X-CSRF-Token."""


class PasswordChange(Ask):
    old: Password
    new: Password


class UserNew(Ask):
    name: Name
    """Or an e-mail address. It is never given to anybody else."""
    password: Password | None = None
    """Null for one who signs in with tokens of the outside issuer alone."""
    role: Role = Role.MEMBER
    tenant: Name | None = None
    """Yours unless set; another is for operators."""
    operator: bool = False
    subject: Text | None = None
    """Who this is in the tokens of the outside issuer: its claim `sub`."""


class FirstUser(Ask):
    """By the set-up link; `token` is what stands behind its #."""

    token: Password
    name: Name
    password: Password


class UserChange(Ask):
    """What is left out stays as it is."""

    role: Role | None = None
    operator: bool | None = None
    enabled: bool | None = None
    """One who is not enabled can't sign in, and no key of theirs opens anything."""
    password: Password | None = None
    subject: Text | None = None
    """Empty takes it away."""


class UserRead(Read):
    name: str
    tenant: str
    role: Role
    operator: bool
    enabled: bool
    subject: str | None
    created_at: float


class KeyNew(Ask):
    name: Name
    """What it is for."""
    scope: Scope = Scope.SUBMIT
    expires_in_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] | None = None
    """Null keeps it good until it is revoked."""


class KeyRead(Read):
    id: str
    user: str
    name: str
    prefix: str
    """Its first characters, to recognise it by."""
    scope: Scope
    created_at: float
    expires_at: float | None
    used_at: float | None
    """When it was used last, to the minute or so."""
    revoked_at: float | None


class KeyMade(KeyRead):
    key: str
    """The key itself. It is shown this once."""


class TenantNew(Ask):
    name: Name
    scripts: bool = False
    """Whether its jobs may be any program, which then can read whatever the server can."""


class TenantChange(Ask):
    scripts: bool | None = None


class TenantRead(Read):
    name: str
    scripts: bool
    created_at: float


class QuotaRead(Read):
    of: str
    """`tenant`, or `user NAME`."""
    quota: Quota
    used: float
    limit: float | None
    """Null where there is none."""
    left: float | None


class QuotaAsk(Ask):
    of: Annotated[Text, Field(min_length=1, max_length=140)]
    """`tenant`, `each user`, or `user NAME`."""
    tenant: Name | None = None
    """Yours unless set; another is for operators."""
    amounts: dict[Quota, Amount | None]
    """Null takes a limit away."""


class LimitRead(Read):
    tenant: str
    of: str
    quota: Quota
    amount: float


class AuditRead(Read):
    id: int
    at: float
    tenant: str | None
    user: str | None
    """Null where nobody was signed in."""
    via: str | None
    credential: str | None
    """Which session or key it was."""
    address: str | None
    action: str
    """The id of the operation."""
    target: str | None
    refused: str | None
    """Why nothing was done; null for what was done."""
    details: dict[str, Any]


class SecretPut(Ask):
    value: Annotated[str, Field(min_length=1, max_length=16_384)]


class SecretRead(Read):
    """The value itself is never shown."""

    name: str
    user: str
    """Who set it last."""
    changed_at: float
