"""Who asks, accounts, keys, tenants, quotas and the audit log."""

import os
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack
from urllib.parse import quote

from runyard.schemas.page import Page
from runyard.schemas.people import (
    AuditRead,
    KeyMade,
    KeyRead,
    LimitRead,
    QuotaRead,
    SessionRead,
    TenantRead,
    UserRead,
)
from runyard.sdk import calls, download
from runyard.sdk.calls import API, Call
from runyard.sdk.errors import ClientError

Steps = Call[Any] | calls.Work[Any]
SESSION, USERS, KEYS, TENANTS = (f"{API}/{name}" for name in ("session", "users", "keys", "tenants"))
OWNER_ALONE = 0o600


class Wanted(TypedDict, total=False):
    """Which entries of the audit log; times are seconds since the epoch."""

    user: str | None
    action: str | None
    target: str | None
    refused: bool | None
    since: float | None
    until: float | None


def whoami() -> Call[SessionRead]:
    """Who asks, and what they may do."""
    return calls.get(SESSION, SessionRead)


def log_in(
    name: str, password: str, *, key_name: str, scope: str = "submit", days: float | None = 90
) -> Generator[Steps, Any, KeyMade]:
    """A new key of one's own, for a name and a password; None keeps it good until it is revoked.

    This client goes on with the key that it has: make another with the new one.
    """
    body = {"name": name, "password": password}
    found = yield from Call("POST", SESSION, calls.parser(SessionRead), body=body, anonymous=True)
    headers = {"X-CSRF-Token": found.csrf_token or ""}
    try:
        made = yield from replace(create_key(key_name, scope=scope, days=days), headers=headers, anonymous=True)
    finally:
        with suppress(ClientError):  # it ends by itself, and there may be a key to hand out
            yield from Call("DELETE", SESSION, calls.nothing, headers=headers, anonymous=True)
    return made


def users() -> Call[Page[UserRead]]:
    """Everybody in the tenant; for an operator, in all of them."""
    return calls.get(USERS, Page[UserRead])


def user(name: str) -> Call[UserRead]:
    return calls.get(_user(name), UserRead)


def create_user(
    name: str,
    *,
    password: str | None = None,
    role: str = "member",
    tenant: str | None = None,
    operator: bool = False,
    subject: str | None = None,
) -> Call[UserRead]:
    """A new account; one without a password has to have a `subject`, which is who it is for an outside issuer."""
    body = calls.given(name=name, password=password, role=role, tenant=tenant, operator=operator, subject=subject)
    return Call("POST", USERS, calls.parser(UserRead), body=body)


def change_user(
    name: str,
    *,
    role: str | None = None,
    operator: bool | None = None,
    enabled: bool | None = None,
    password: str | None = None,
    subject: str | None = None,
) -> Call[UserRead]:
    """None leaves things as they are; an empty `subject` takes it away."""
    body = calls.given(role=role, operator=operator, enabled=enabled, password=password, subject=subject)
    return Call("PATCH", _user(name), calls.parser(UserRead), body=body)


def change_password(old: str, new: str) -> Call[None]:
    """One's own; all one's sessions end, keys stay."""
    return Call("POST", f"{SESSION}/password", calls.nothing, body={"old": old, "new": new})


def keys(*, everybodys: bool = False) -> Call[Page[KeyRead]]:
    """One's own, newest first; or the whole tenant's, for its admins."""
    return calls.get(KEYS, Page[KeyRead], {"all": True} if everybodys else {})


def create_key(name: str, *, scope: str = "submit", days: float | None = None) -> Call[KeyMade]:
    """The answer alone holds the key itself. None keeps it good until it is revoked."""
    body = calls.given(name=name, scope=scope, expires_in_days=days)
    return Call("POST", KEYS, calls.parser(KeyMade), body=body)


def revoke_key(key_id: str) -> Call[KeyRead]:
    return Call("DELETE", f"{KEYS}/{quote(key_id, safe='')}", calls.parser(KeyRead))


def tenants() -> Call[Page[TenantRead]]:
    return calls.get(TENANTS, Page[TenantRead])


def create_tenant(name: str, *, scripts: bool = False) -> Call[TenantRead]:
    """With `scripts`, its jobs may be any program."""
    return Call("POST", TENANTS, calls.parser(TenantRead), body={"name": name, "scripts": scripts})


def change_tenant(name: str, *, scripts: bool) -> Call[TenantRead]:
    return Call("PATCH", f"{TENANTS}/{quote(name, safe='')}", calls.parser(TenantRead), body={"scripts": scripts})


def quotas(user: str | None = None) -> Call[Page[QuotaRead]]:
    """What a user may have, has and has left, then the same for the whole tenant; one's own unless named."""
    return calls.get(f"{API}/quotas", Page[QuotaRead], calls.given(user=user))


def limits() -> Call[Page[LimitRead]]:
    """All that was set."""
    return calls.get(f"{API}/quotas/limits", Page[LimitRead])


def set_quotas(of: str, amounts: Mapping[str, float | None], *, tenant: str | None = None) -> Call[Page[LimitRead]]:
    """`of` is `tenant`, `each user` or `user NAME`; an amount of None takes the limit away."""
    body = {"of": of, "amounts": dict(amounts), **calls.given(tenant=tenant)}
    return Call("PUT", f"{API}/quotas", calls.parser(Page[LimitRead]), body=body)


def audit(*, cursor: str | None = None, limit: int = 50, **wanted: Unpack[Wanted]) -> Call[Page[AuditRead]]:
    """One page of the audit log, newest first."""
    return calls.get(f"{API}/audit", Page[AuditRead], calls.given(cursor=cursor, limit=limit, **wanted))


def export_audit(to: Path | str, **wanted: Unpack[Wanted]) -> Generator[Steps, Any, Path]:
    """All of it, or what the filter lets pass, as JSON lines in a new file, which is there once it is complete."""
    to = download.free(Path(to))
    with download.beside(to) as part:
        os.fchmod(part.fileno(), OWNER_ALONE)
        yield from replace(calls.content("/audit/export", part.write), params=calls.given(**wanted))
        download.keep(part, to)
    return to


def _user(name: str) -> str:
    return f"{USERS}/{quote(name, safe='')}"
