"""People of two tenants with all kinds of keys, and something that belongs to each of them."""

import asyncio
import time
from dataclasses import dataclass, field
from functools import cache

from argon2 import PasswordHasher

from runyard.db.queries import artifacts, checkpoints, users
from runyard.domain.access import LOCAL, Caller, Role, Scope
from runyard.protocol.notices import Occasion
from runyard.server.deps import Yard
from runyard.services import accounts, channels, deliveries, keys, tenants
from runyard.services.accounts import Asked

PASSWORD = "correct horse battery"


@dataclass
class People:
    """Keys by whom they are, and ids of what is there."""

    keys: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"} if who in self.keys else {}


@cache
def quickly_hashed(password: str) -> str:
    """As the server does it, but with less work."""
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)


async def settle(yard: Yard) -> People:
    """ada operates and admins the first tenant; max and mia are members, vera a viewer; otto admins another tenant."""
    people, kept = People(), quickly_hashed(PASSWORD)
    now = time.time()
    async with yard.database.write() as session:
        await tenants.create(session, "other", scripts=False, at=now)
        first = await accounts.create(session, LOCAL, "first", "main", Asked(role=Role.VIEWER), now)
        assert (first.role, first.operator) == (Role.ADMIN, True), "somebody has to operate it"
        for name, tenant, role in (
            *(("ada", "main", Role.ADMIN), ("max", "main", Role.MEMBER), ("mia", "main", Role.MEMBER)),
            *(("vera", "main", Role.VIEWER), ("otto", "other", Role.ADMIN), ("anna", "main", Role.ADMIN)),
        ):
            asked = Asked(role=role, operator=name == "ada", password=kept)
            await accounts.create(session, LOCAL, name, tenant, asked, now)
        for who, name, scope, expires_at in (
            *(("operator", "ada", Scope.ADMIN, None), ("admin", "anna", Scope.ADMIN, None)),
            *(("owner", "max", Scope.SUBMIT, None), ("member", "mia", Scope.SUBMIT, None)),
            *(("viewer", "vera", Scope.ADMIN, None), ("foreign admin", "otto", Scope.ADMIN, None)),
            *(("reading key", "ada", Scope.READ, None), ("submitting key", "ada", Scope.SUBMIT, None)),
            *(("expired", "ada", Scope.ADMIN, now - 1), ("revoked", "ada", Scope.ADMIN, None)),
        ):
            known = await users.known(session, name)
            assert known is not None
            caller: Caller = accounts.as_caller(known)
            key_id = who.replace(" ", "")
            _, people.keys[who] = await keys.create(session, caller, keys.Asked(who, scope, expires_at), key_id, now)
            if who == "revoked":
                await keys.revoke(session, caller, key_id, now)
    yard.gate.forget()
    return people


async def leave_behind(yard: Yard, job_id: str) -> str:
    """A file and a checkpoint of a job; the id of the file."""
    root = yard.context.rundir(job_id).root
    final, step = root / "final", yard.context.rundir(job_id).checkpoint(5)
    await asyncio.to_thread(final.mkdir, parents=True)
    await asyncio.to_thread(step.mkdir, parents=True)
    (final / "model.bin").write_bytes(b"weights")
    (step / "state.bin").write_bytes(b"state")
    now = time.time()
    async with yard.database.write() as session:
        values = {"kind": "model", "size_bytes": 7, "hash_sha256": "0" * 64, "created_at": now, "details": {}}
        await artifacts.record(session, job_id, "final/model.bin", "artifact1", values)
        saved = {
            "attempt": 1, "path": str(step.relative_to(root)), "size_bytes": 5, "metrics": {}, "best": False,
            "files": {"state.bin": "0" * 64}, "created_at": now,
        }  # fmt: skip
        await checkpoints.record(session, job_id, 5, saved)
    return "artifact1"


async def leave_channel(yard: Yard) -> None:
    """A webhook of max's, and what is to be sent there."""
    address = channels.Address("webhook", "https://example.org/hook", "https://example.org/…")
    async with yard.database.write() as session:
        known = await users.known(session, "max")
        assert known is not None
        caller, now = accounts.as_caller(known), time.time()
        request = channels.Request("alerts", address, "user", [Occasion.FAILED])
        channel, _ = await channels.add(session, caller, request, yard.context, "channel1", now)
        delivery = await deliveries.test(session, channel, caller, "ours", now)
        assert delivery.id == "msgours"
