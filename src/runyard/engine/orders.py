"""What an attempt is started with: its command, its spec, its secrets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runyard.db.tables import Attempt, Job
from runyard.domain.access import FIRST_TENANT
from runyard.domain.errors import InvalidError
from runyard.engine.context import Context
from runyard.executors.base import Launch, LaunchError, Limits
from runyard.protocol.commands import Command
from runyard.protocol.rundir import RunDir, write_atomically
from runyard.services import secrets, sources
from runyard.services.secrets import HUB_TOKEN, NO_LOGIN


class Order:
    """An attempt that is to be launched, or was already. `launch` is without what nobody is to see."""

    def __init__(self, context: Context, attempt: Attempt, job: Job) -> None:
        self._context, self._job = context, job
        self._rundir = RunDir(context.runs / job.id)
        self._command = context.command(job.resolved_spec, self._rundir, attempt.number)
        self.launch = _launch(context, self._command, self._rundir, attempt)
        if job.tenant != FIRST_TENANT:
            self.launch = replace(self.launch, env={**NO_LOGIN, **self.launch.env})
        if context.enforces_limits:
            limits = Limits(None if job.memory_mb is None else job.memory_mb << 20, job.cpus)
            self.launch = replace(self.launch, limits=limits)
        if user := context.users.get(job.tenant):
            env = {**user.environment, **self.launch.env}
            self.launch = replace(self.launch, user=user, reads=_reads(job.resolved_spec, context), env=env)

    async def complete(self) -> Launch:
        """With its secrets. Raises secrets.UnusableError, and LaunchError when its model's code is not trusted now."""
        try:
            sources.require_trust(self._job.spec, self._context.limits)
        except InvalidError as refusal:
            raise LaunchError(str(refusal.problems[0])) from None
        return replace(self.launch, secrets=await self._secrets())

    def write(self, launch: Launch) -> None:
        """What has to be on the disk before it begins; not for the event loop. Raises OSError."""
        self._rundir.root.mkdir(parents=True, exist_ok=True)
        # Not waited for: the database has it, and every attempt writes it anew.
        write_atomically(self._rundir.spec, json.dumps(self._job.resolved_spec, indent=2), durable=False)
        if launch.secrets:
            secrets.note_given(self._rundir, launch.secrets.values(), self._context.limits)

    async def _secrets(self) -> dict[str, str]:
        own = self._context.hub_token if self._job.tenant == FIRST_TENANT else ""
        found = {HUB_TOKEN: own} if own else {}
        wanted = self._command.secrets
        if wanted or self._job.kind != "script":
            async with self._context.database.read(tenant=self._job.tenant) as session:
                found |= await secrets.given(session, self._job, wanted, self._context.limits)
        return found


def _reads(spec: Mapping[str, Any], context: Context) -> list[Path]:
    """What lies in the data folder of what a job names: its tenant's data sets, and the run from whose checkpoint it
    begins."""
    data = spec.get("data") or {}
    named = [Path(name) for name in (data.get("train"), data.get("eval")) if name]
    found = [path for path in named if path.is_relative_to(context.limits.datasets)]
    origin, runs = Path(spec.get("continue_from") or ""), context.runs.resolve()
    if origin.is_relative_to(runs):
        found.append(runs / origin.relative_to(runs).parts[0])
    return found


def _launch(context: Context, command: Command, rundir: RunDir, attempt: Attempt) -> Launch:
    return Launch(
        job_id=attempt.job_id,
        attempt=attempt.number,
        run_dir=rundir.root,
        argv=command.argv,
        env=command.env,
        cwd=command.cwd,
        folders=command.folders,
        after=command.after,
        nonce=attempt.id,
        gpus=attempt.gpus,
        grace_seconds=context.grace_seconds,
        save_seconds=context.save_seconds,
    )
