"""What a job would learn from: a few rows as its model will see them, told by the trainer in a process of its own."""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runyard.domain.access import FIRST_TENANT, Owner
from runyard.domain.errors import InvalidError, TooManyRequestsError
from runyard.protocol.problems import Problem
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs import Spec
from runyard.protocol.specs.language import LanguageSpec
from runyard.protocol.specs.script import ScriptSpec
from runyard.services import asides, checks
from runyard.services.context import Context
from runyard.services.secrets import NO_LOGIN

MOST_ASKING, MOST_OF_ONE, RETRY_SECONDS = 8, 2, 10.0
WHY = "the rows can't be shown"


class Previews:
    """One at a time: each loads the libraries of a trainer, which takes seconds of a processor and hundreds of MB."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turn = asyncio.Lock()
        self._asking: Counter[str] = Counter()

    async def of(self, asked: Spec, resolved: Spec, count: int, owner: Owner) -> dict[str, Any]:
        """The first `count` rows and what holds for all, as the trainer reports them.

        Raises InvalidError for a job that shows no rows here, whose model or data can't be read, or that takes too
        long, and TooManyRequestsError when too many wait for it.
        """
        if isinstance(asked, ScriptSpec) or isinstance(resolved, ScriptSpec):
            raise _refused("kind", "a script reads its own data, so there is nothing to show")
        if asked.model.trust_remote_code:
            raise _refused("model.trust_remote_code", "a model's own code is run by a job alone, not to look at rows")
        if not resolved.data.train.startswith("/"):
            raise _refused(
                "data.train", "what is on the hub is fetched by a job alone: `runyard preview` shows its rows"
            )
        if self._context.trainer_environment is None:
            raise _refused("data.train", "here jobs alone read data, each as its tenant's system user")
        if self._asking[owner.user] >= MOST_OF_ONE or self._asking.total() >= MOST_ASKING:
            raise TooManyRequestsError("too many ask for rows at once", RETRY_SECONDS, hint="wait, then try again")
        environ = self._context.trainer_environment | ({} if owner.tenant == FIRST_TENANT else NO_LOGIN)
        self._asking[owner.user] += 1
        try:
            async with self._turn:
                ended = await _ask_trainer(resolved, count, environ, self._context.preview_seconds)
        finally:
            self._asking[owner.user] -= 1
        return _answer(ended, asked, resolved)


async def _ask_trainer(spec: LanguageSpec, count: int, environ: Mapping[str, str], seconds: float) -> asides.Ended:
    with tempfile.TemporaryDirectory(prefix="runyard-preview-") as folder:
        RunDir(Path(folder)).spec.write_text(spec.model_dump_json())
        try:
            arguments = [folder, "--preview", str(count)]
            return await asides.run("runyard.trainers", arguments, environ=environ, seconds=seconds)
        except TimeoutError:
            text = f"reading model and data takes more than {seconds:.0f} seconds; RUNYARD_PREVIEW_SECONDS gives more"
            raise _refused("data.train", text) from None


def _answer(ended: asides.Ended, asked: LanguageSpec, resolved: LanguageSpec) -> dict[str, Any]:
    output = ended.output.decode()
    for path, name in ((resolved.model.name, asked.model.name), (resolved.data.train, asked.data.train)):
        output = output.replace(json.dumps(path)[1:-1], json.dumps(name)[1:-1])  # no folders of this server
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        raise _refused("data.train", f"the trainer broke off: {checks.last_line(ended.errors)}") from None
    if found.get("problems"):
        raise InvalidError(WHY, problems=[Problem.model_validate(problem) for problem in found["problems"]])
    return found


def _refused(field: str, message: str) -> InvalidError:
    return InvalidError(WHY, problems=[Problem(field=field, message=message)])
