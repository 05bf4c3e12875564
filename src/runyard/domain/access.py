"""Who may do what: roles of people, scopes of keys, and what each act needs. The one table that decides it."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal

from runyard.domain.errors import ForbiddenError

FIRST_TENANT = "main"
"""Whose everything is that was made before there were others."""
LOCAL_USER = "local"
"""Who asks on a server without accounts, which only this machine can reach."""


class Role(StrEnum):
    """In a tenant. Each may do what those before it may."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


class Scope(StrEnum):
    """How much of what its owner may do a key may do. Each may do what those before it may."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


class Act(IntEnum):
    """What a request does."""

    SEE = 0
    """Look at what is the tenant's."""
    SUBMIT = 1
    """Jobs, data sets, schedules; change one's own."""
    MANAGE = 2
    """Others' jobs, people, quotas, the audit log."""
    OPERATE = 3
    """The installation: tenants, and what touches all of them."""
    MEASURE = 4
    """Figures of the installation, which count all tenants and name nobody."""


OF_ALL_TENANTS = frozenset({Act.OPERATE, Act.MEASURE})
"""For operators alone."""
NEEDS_ROLE = {
    Act.SEE: Role.VIEWER,
    Act.SUBMIT: Role.MEMBER,
    Act.MANAGE: Role.ADMIN,
    **dict.fromkeys(OF_ALL_TENANTS, Role.VIEWER),
}
NEEDS_SCOPE = {
    Act.SEE: Scope.READ,
    Act.SUBMIT: Scope.SUBMIT,
    Act.MANAGE: Scope.ADMIN,
    Act.OPERATE: Scope.ADMIN,
    Act.MEASURE: Scope.READ,
}

WHO_MAY = {
    Act.SEE: "it takes an account in this tenant",
    Act.SUBMIT: "it takes a member or an admin, and a key that may submit",
    Act.MANAGE: "it takes an admin of the tenant, and a key of scope admin",
    Act.OPERATE: "it takes an operator of the installation, and a key of scope admin",
    Act.MEASURE: "it takes an operator of the installation, and a key of any scope",
}

Via = Literal["loopback", "session", "key", "token"]


@dataclass(frozen=True)
class Owner:
    """Whose something is. `scripts` tells whether the tenant's jobs may be any program."""

    user: str
    tenant: str
    scripts: bool = False


@dataclass(frozen=True)
class Caller(Owner):
    """Who asks, and how far the credential reaches.

    `credential` is the id of the session or key, so that it can be told which one it was; a JWT has none.
    """

    role: Role = Role.VIEWER
    operator: bool = False
    scope: Scope = Scope.ADMIN
    via: Via = "loopback"
    credential: str | None = None
    expires_at: float | None = None
    address: str | None = None

    def may(self, act: Act) -> bool:
        if act in OF_ALL_TENANTS and not self.operator:
            return False
        return _reaches(self.role, NEEDS_ROLE[act]) and _reaches(self.scope, NEEDS_SCOPE[act])

    def require(self, act: Act) -> None:
        """Raises ForbiddenError."""
        if not self.may(act):
            raise ForbiddenError(f"{self.user} may not do this", hint=WHO_MAY[act])

    def require_change(self, owner: str, what: str) -> None:
        """For what belongs to somebody of the same tenant. Raises ForbiddenError."""
        self.require(Act.SUBMIT)
        if owner != self.user and not self.may(Act.MANAGE):
            raise ForbiddenError(f"{what} is {owner}'s", hint=f"{owner} or an admin of the tenant may do this")


LOCAL = Caller(LOCAL_USER, FIRST_TENANT, scripts=True, role=Role.ADMIN, operator=True)
"""Everybody on this machine, where there are no accounts."""


def may_appoint(caller: Caller, role: Role, *, operator: bool) -> bool:
    """Nobody makes another more than they are themselves."""
    return caller.may(Act.OPERATE) if operator else caller.may(Act.MANAGE) and _reaches(caller.role, role)


def _reaches(has: Role | Scope, needs: Role | Scope) -> bool:
    order = list(type(has))
    return order.index(has) >= order.index(needs)
