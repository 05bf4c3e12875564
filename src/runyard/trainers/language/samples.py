"""The same few prompts, answered by the base model and at each checkpoint, without a trace in the training.

One prompt at a time: an answer does not depend on what else is asked, and needs little memory.

Importing this module loads torch and transformers: do it inside functions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from runyard.protocol.events import ResumedEvent, SampleEvent, any_event
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import SampleSpec
from runyard.trainers.failures import classify
from runyard.trainers.language import models
from runyard.trainers.language.models import TORCH_DTYPES
from runyard.trainers.language.trl_trainers import Guide, random_state_kept
from runyard.trainers.pace import Pace
from runyard.trainers.stop import Stopped
from runyard.trainers.text import prompts
from runyard.trainers.text.prompts import Prompt

BASE = 0
"""The step of what the model answers before it is trained."""


class Sampler:
    """Asks the model of a trainer, and tells what it answers; what was told of a step before is not asked again."""

    def __init__(self, guide: Guide, settings: SampleSpec, asked: Sequence[Prompt], model: Any, tokenizer: Any) -> None:
        self.settings = settings
        self._guide, self._asked, self._model, self._tokenizer = guide, asked, model, tokenizer
        self._told = told(guide.rundir)
        self._ends = sorted(prompts.ends(tokenizer) | _own_ends(model))
        self._gave_up = False

    def answer_as_base(self) -> None:
        """What the model answers without what was learnt; before any checkpoint is loaded."""
        adapter_off = getattr(self._model, "disable_adapter", nullcontext)
        with adapter_off():
            self.answer(BASE)

    def answer(self, step: int) -> None:
        """Stops in the middle when the run is asked to: the rest is made up for when it goes on."""
        missing = [(index, one) for index, one in enumerate(self._asked) if (step, index) not in self._told]
        if not missing or self._gave_up or self._guide.stop.requested:
            return
        self._guide.emitter.phase("evaluating")
        with _undisturbed(self._model), random_state_kept():
            for index, prompt in missing:
                if not self._tell(step, index, prompt):
                    break
        self._guide.emitter.phase("training")

    def _tell(self, step: int, index: int, prompt: Prompt) -> bool:
        """False if nothing more is to be asked now."""
        try:
            ids = self._generate(step, index, prompt)
        except Exception as error:  # noqa: BLE001 - whatever it is, the training can do without
            self._give_up(error)
            return False
        if self._guide.stop.requested:
            return False
        ended = bool(ids) and ids[-1] in self._ends
        answer = self._tokenizer.decode(ids, skip_special_tokens=True).strip()
        self._guide.emitter.sample(step, index, prompt.text, answer, wanted=prompt.wanted, truncated=not ended)
        self._told.add((step, index))
        return True

    def _generate(self, step: int, index: int, prompt: Prompt) -> list[int]:
        guide, model = self._guide, self._model
        given = torch.tensor([prompt.ids], device=model.device)
        torch.manual_seed(hash((guide.spec.training.seed, step, index)))
        dtype = getattr(torch, TORCH_DTYPES[guide.plan.dtype])
        with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=guide.plan.dtype != "fp32"):
            whole = model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                generation_config=self._config(len(prompt.ids)),
                stopping_criteria=StoppingCriteriaList([_Asked(guide, step)]),
            )
        ids: list[int] = whole[0, len(prompt.ids) :].tolist()
        return ids

    def _config(self, length: int) -> GenerationConfig:
        settings = self.settings
        longest = models.shape(self._model.config).max_positions
        room = max(1, longest - length) if longest else settings.max_new_tokens
        drawn = {"do_sample": True, "temperature": settings.temperature, "top_k": 0, "top_p": 1.0}
        return GenerationConfig(
            max_new_tokens=min(settings.max_new_tokens, room),
            eos_token_id=self._ends or None,
            pad_token_id=self._tokenizer.pad_token_id,
            use_cache=True,
            repetition_penalty=1.0,
            **(drawn if settings.temperature else {"do_sample": False}),
        )

    def _give_up(self, error: Exception) -> None:
        self._gave_up = True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        text = f"no more samples in this attempt, the training goes on without: {classify(error)[1]}"
        self._guide.emitter.message(text, level="warning")


class SampleCallback(TrainerCallback):  # type: ignore[misc]
    """Asks at each checkpoint, or at the last one only; comes after what tells of the checkpoint."""

    def __init__(self, sampler: Sampler, guide: Guide, pace: Pace) -> None:
        self._sampler, self._guide, self._pace = sampler, guide, pace

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Where the run was stopped or died before it was asked all at the checkpoint that it goes on from."""
        if state.global_step:
            self._ask(state)
            self._guide.stop.check()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._ask(state)
        if self._guide.stop.discard:
            raise Stopped
        if self._guide.stop.requested:  # nothing was done since the checkpoint
            control.should_training_stop = True

    def _ask(self, state: TrainerState) -> None:
        if self._sampler.settings.every_checkpoint or self._guide.state.ended:
            self._sampler.answer(state.global_step)
            self._pace.skip()


class _Asked(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer when the run is asked to stop; tells now and then that it is at work."""

    def __init__(self, guide: Guide, step: int) -> None:
        self._guide, self._step = guide, step

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self._guide.note_batch("evaluating", self._step)
        return torch.full((input_ids.shape[0],), self._guide.stop.requested, device=input_ids.device)


def told(rundir: RunDir) -> set[tuple[int, int]]:
    """Step and index of the answers that count: those after a step that the run was set back to are void."""
    found: set[tuple[int, int]] = set()
    with rundir.events.open("rb") as lines:
        for line in lines:
            if b'"sample"' not in line and b'"resumed"' not in line:
                continue
            match any_event.validate_json(line):
                case SampleEvent() as event:
                    found.add((event.step, event.index))
                case ResumedEvent() as event:
                    found = {key for key in found if key[0] <= event.step}
    return found


def _own_ends(model: Any) -> set[int]:
    """What the model itself says that its answers end with."""
    known = model.generation_config.eos_token_id
    return set(known if isinstance(known, list) else [known]) - {None}


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """No dropout inside; afterwards every part is in the mode in which it was."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
