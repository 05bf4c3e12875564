"""What to do about a failure: an explanation, and the change of the job that may cure it. Pure."""

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runyard.domain import cures
from runyard.domain.cures import Change, Changes, Facts
from runyard.domain.reasons import Reason
from runyard.protocol.specs.language import LanguageSpec
from runyard.protocol.specs.run import RunSpec

SAME_STEPS = frozenset(
    {
        "training.batch_size",  # only ever written down as what it was
        "training.micro_batch_size",
        "training.activation_checkpointing",
        "training.loader_workers",
        "evaluation.batch_size",
        "checkpoints.keep",
        "output.merge",
        "limits.max_runtime",
    }
)
"""Fields whose change leaves every optimizer step as it was, so that a run can go on from its checkpoint."""
AT_LINE = re.compile(r":\d+:")
MISSING_MODULE = re.compile(r"No module named '([\w-]+)")

EXPLANATIONS: dict[Reason, str] = {
    Reason.BAD_DATA: "The data can't be used as they are; the message names file and line.",
    Reason.BAD_CONFIG: "The job asks for something that its model, its data or this machine can't do; the message says "
    "what. Change the job file and submit it again.",
    Reason.MODEL_NOT_FOUND: "The model is neither on this machine nor could it be fetched. Check its name, put it into "
    "the models folder of the server, or log in to the hub if it is private.",
    Reason.MISSING_PACKAGE: "A package or program that the job needs is not installed where it ran.",
    Reason.GPU_OUT_OF_MEMORY: "The memory of the GPU ran out.",
    Reason.OUT_OF_MEMORY: "The main memory of the machine ran out.",
    Reason.LOSS_NOT_FINITE: "The loss or its gradient was no finite number any more: steps too large, numbers too "
    "short, or damaged rows.",
    Reason.LOSS_EXPLODED: "The loss left the neighbourhood of its best value and did not come back: the steps are too "
    "large.",
    Reason.DISK_FULL: "The disk is full. Delete what is no longer needed; the job then goes on from its last "
    "checkpoint with `runyard jobs retry`.",
    Reason.MERGE_DIFFERS: "The merged model does not give what model and adapter give together, so it was not "
    "kept. The adapter itself is complete.",
    Reason.ERROR: "The trainer met an error that it has no name for. Its output has the trace: `runyard jobs logs`.",
    Reason.MISSING_FILE: "The job names a file or folder that is not there. Paths in a script start at its working "
    "folder.",
    Reason.CRASHED: "The program ended with an error of its own. Its last line is in the message, the rest in "
    "`runyard jobs logs`.",
    Reason.KILLED: "A signal from outside ended it.",
    Reason.STALLED: "It was alive but made no progress. Where each of its threads stood is in its files "
    "(`runyard jobs files`). If it is only slow, raise limits.stall_timeout.",
    Reason.TIMEOUT: "It needed more time than limits.max_runtime gives it.",
    Reason.LOST: "Its process vanished without a word: somebody killed it together with its guardian. It goes on from "
    "its last checkpoint, if it has one, with `runyard jobs retry`.",
    Reason.MACHINE_RESTARTED: "The machine was restarted while it ran. It goes on from its last checkpoint, if it has "
    "one, with `runyard jobs retry`.",
    Reason.NOT_STARTED: "It could not be started at all; the message says why.",
}
NO_ROOM_LEFT = "There is no smaller step left: take a smaller model, or a machine with more memory."
SCRIPT_MEMORY = "Lower what it holds at once (such as its batch size), or let it have the machine to itself: "


MOST_CHOICES = 4


@dataclass(frozen=True)
class Choice:
    """One way on. `changes` are all to be made together; `pace` is how long a step then takes, of what it took, None
    where nobody knows."""

    effect: str
    changes: Changes
    pace: float | None = 1.0

    @property
    def goes_on(self) -> bool:
        """Can the changed job go on from the checkpoint of the one that failed, with the very same steps?"""
        return all(change.field in SAME_STEPS for change in self.changes)


Choices = tuple[Choice, ...]


@dataclass(frozen=True)
class Advice:
    """The least change is the first choice; without any, there is something for a person to do."""

    explanation: str
    choices: Choices = ()


def advise(reason: str | None, message: str | None, spec: RunSpec | None, facts: Facts) -> Advice | None:
    """Advice on a failure; none for a reason that nobody knows. `spec` is the job as it ran, if it can be read."""
    if reason not in set(Reason):
        return None
    known = Reason(reason)
    text: str = EXPLANATIONS[known]
    choices: Choices = ()
    if spec is not None and (cure := CURES.get(known)):
        more, choices = cure(spec, facts, message or "")
        text = f"{text} {more}".strip()
    return Advice(text, choices[:MOST_CHOICES])


def apply(fields: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The fields of a spec with changes made; sections that were left out are added."""
    changed = dict(fields)
    for change in changes:
        section, _, name = change.field.partition(".")
        changed[section] = {**(changed.get(section) or {}), name: change.after}
    return changed


Cure = tuple[str, Choices]

MEMORY_STEPS: tuple[tuple[str, cures.Step, float | None], ...] = (
    ("Leave the merging to another machine.", cures.without_merge, 1.0),
    ("Evaluate fewer rows at once.", cures.smaller_evaluation, 1.0),
    ("Fewer rows at once need less of it; the batch stays the same, in more parts.", cures.smaller_micro_batch, 1.0),
    ("Activations computed twice instead of kept need far less of it, and a third more time.",
     cures.checkpointed_activations, 4 / 3),
    ("The base model in 4 bit needs a quarter of it (with bitsandbytes installed).", cures.four_bits, None),
    ("Shorter rows need less of it; what is behind the limit is not learned from.", cures.shorter_rows, 1.0),
)  # fmt: skip
"""The least change first; with the time of a step after it, of what it was: for shorter rows at most that."""


def _gpu_memory(spec: RunSpec, facts: Facts, message: str) -> Cure:
    if not isinstance(spec, LanguageSpec):
        return SCRIPT_MEMORY + "leave resources.gpu_memory unset.", ()
    steps = ((effect, step(spec, facts), pace) for effect, step, pace in MEMORY_STEPS)
    return _first(NO_ROOM_LEFT, *(Choice(effect, changes, pace) for effect, changes, pace in steps))


def _main_memory(spec: RunSpec, facts: Facts, message: str) -> Cure:
    """On a CPU it holds what a GPU would hold; beside a GPU it holds little but copies of the data."""
    if not isinstance(spec, LanguageSpec):
        return SCRIPT_MEMORY + "set resources.memory to what it needs.", ()
    if not facts.on_gpu:
        return _gpu_memory(spec, facts, message)
    fewer_copies = Choice("Each loader process holds a copy of the data.", cures.no_workers(spec, facts), None)
    return _first("Set resources.memory to what it needs, so that fewer jobs run beside it.", fewer_copies)


def _killed(spec: RunSpec, facts: Facts, message: str) -> Cure:
    if facts.signal != signal.SIGKILL:
        return "", ()
    text, choices = _main_memory(spec, facts, message)
    return f"The system does so when main memory runs out, which leaves no trace in the program. {text}", choices


def _not_finite(spec: RunSpec, facts: Facts, message: str) -> Cure:
    if not isinstance(spec, LanguageSpec):
        return "Lower its learning rate, or look for rows without a finite value.", ()
    calmer = "Smaller first steps help, if the data are sound."
    return _first(
        calmer,
        Choice("fp16 overflows easily; fp32 does not (nor does bf16, on a GPU that has it).",
               cures.exact_numbers(spec, facts), None),
        Choice(calmer, cures.calmer(spec, facts, 10)),
    )  # fmt: skip


def _exploded(spec: RunSpec, facts: Facts, message: str) -> Cure:
    if not isinstance(spec, LanguageSpec):
        return "Lower its learning rate.", ()
    calmer = "A lower learning rate with a longer warmup keeps it near."
    return _first(
        calmer,
        Choice(calmer, cures.calmer(spec, facts, 3)),
        Choice("A far lower one keeps it nearer, and learns more slowly.", cures.calmer(spec, facts, 10)),
    )


def _bad_data(spec: RunSpec, facts: Facts, message: str) -> Cure:
    if isinstance(spec, LanguageSpec) and AT_LINE.search(message) and not spec.data.drop_bad_rows:
        without = Choice("The rows that can't be used are left out.", (Change("data.drop_bad_rows", False, True),))
        return "Correct that line, or leave out the rows that can't be used.", (without,)
    return "Correct them and submit the job again.", ()


def _missing_package(spec: RunSpec, facts: Facts, message: str) -> Cure:
    found = MISSING_MODULE.search(message)
    return (f"Install it: pip install {found[1]}" if found else "Install it and retry the job."), ()


def _disk_full(spec: RunSpec, facts: Facts, message: str) -> Cure:
    changes = cures.fewer_checkpoints(spec, facts) if isinstance(spec, LanguageSpec) else ()
    return _first("", Choice("Keeping fewer checkpoints needs less of it.", changes))


def _merge_differs(spec: RunSpec, facts: Facts, message: str) -> Cure:
    merges = isinstance(spec, LanguageSpec) and spec.output.merge
    without = Choice("Without the merge the adapter is the result.", (Change("output.merge", True, False),))
    return "", (without,) if merges else ()


def _stalled(spec: RunSpec, facts: Facts, message: str) -> Cure:
    changes = cures.no_workers(spec, facts) if isinstance(spec, LanguageSpec) else ()
    text = "Loader processes are what hangs most often: load in the trainer itself."
    return _first("", Choice(text, changes, None))


def _timeout(spec: RunSpec, facts: Facts, message: str) -> Cure:
    limit = spec.limits.max_runtime
    longer = Choice("It may take twice the time.", (Change("limits.max_runtime", limit, limit * 2),)) if limit else None
    return "", (longer,) if longer else ()


def _first(otherwise: str, *choices: Choice) -> Cure:
    """Those that change something, and what to say: what the first does, else what is left to do."""
    some = tuple(choice for choice in choices if choice.changes)
    return (some[0].effect if some else otherwise), some


CURES: dict[Reason, Callable[[RunSpec, Facts, str], Cure]] = {
    Reason.GPU_OUT_OF_MEMORY: _gpu_memory,
    Reason.OUT_OF_MEMORY: _main_memory,
    Reason.KILLED: _killed,
    Reason.LOSS_NOT_FINITE: _not_finite,
    Reason.LOSS_EXPLODED: _exploded,
    Reason.BAD_DATA: _bad_data,
    Reason.MISSING_PACKAGE: _missing_package,
    Reason.DISK_FULL: _disk_full,
    Reason.MERGE_DIFFERS: _merge_differs,
    Reason.STALLED: _stalled,
    Reason.TIMEOUT: _timeout,
}
