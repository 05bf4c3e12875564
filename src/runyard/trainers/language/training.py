"""The training itself: from a checkpoint or from the start, to the end or to a stop."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runyard.trainers import checkpoints
from runyard.trainers.language.trl_trainers import Guide
from runyard.trainers.pace import Pace
from runyard.trainers.text.prompts import Prompt

if TYPE_CHECKING:
    from runyard.trainers.language.samples import Sampler


def train(trainer: Any, guide: Guide, asked: Sequence[Prompt] = ()) -> None:
    """Leaves in the trainer the weights to deliver, unless the run was stopped; `asked` are the prompts to sample."""
    from runyard.trainers.curves import Curves
    from runyard.trainers.language.callbacks import ReportCallback, StepCallback, report_checkpoint
    from runyard.trainers.telemetry import Telemetry

    last = checkpoints.newest(guide.rundir)
    step = last[0] if last else 0
    is_resumed = last is not None or guide.emitter.attempt > 1
    if last:
        with guide.stop.interruptible():
            checkpoints.require_as_written(guide.rundir, step)
    if is_resumed:
        path = str(last[1].relative_to(guide.rundir.root)) if last else None
        guide.emitter.resumed(step, path)
        if last and checkpoints.reported(guide.rundir, step) is None:  # the run was killed between the two
            report_checkpoint(guide, step)
    telemetry, curves = (
        Telemetry(guide.gpu_uuid, time.monotonic),
        Curves(guide.rundir.tensorboard, step if is_resumed else None),
    )
    report = ReportCallback(guide, telemetry, curves)
    _replace_callbacks(trainer, [StepCallback(guide), report])
    guide.emitter.phase("training")
    try:
        sampler = _sampler(trainer, guide, asked, report.pace)
        _steps(trainer, guide, step, sampler)
    finally:
        curves.close()
        telemetry.close()
    if not guide.stop.requested:
        _take_best(trainer, guide)


def _sampler(trainer: Any, guide: Guide, asked: Sequence[Prompt], pace: Pace) -> "Sampler | None":
    """What asks at checkpoints; the base model has been asked."""
    settings = guide.spec.samples
    if settings is None:
        return None
    if missing := len(settings.prompts) + (settings.from_eval or 0) - len(asked):
        text = f"samples.from_eval: {missing} more evaluation rows were wanted that have a prompt and fit the model"
        guide.emitter.message(text, level="warning")
    from runyard.trainers.language.samples import SampleCallback, Sampler

    sampler = Sampler(guide, settings, asked, trainer.model, trainer.processing_class)
    sampler.answer_as_base()
    guide.stop.check()
    trainer.add_callback(SampleCallback(sampler, guide, pace))
    return sampler


def _steps(trainer: Any, guide: Guide, step: int, sampler: "Sampler | None") -> None:
    from transformers import set_seed

    checkpoint = str(guide.rundir.checkpoint(step)) if step else None
    set_seed(guide.spec.training.seed)  # loading draws more or less from it, depending on what is in the cache
    if guide.start is not None and not step:
        trainer._load_from_checkpoint(str(guide.start))
    if step and guide.state.evaluation_owed:
        _evaluate_owed(trainer, guide, step)
    if guide.stop.requested:
        return
    if step and guide.state.ended:
        trainer._load_from_checkpoint(checkpoint)
        if sampler:
            sampler.answer(step)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)


def _evaluate_owed(trainer: Any, guide: Guide, step: int) -> None:
    """The run was stopped at a step that is evaluated, before it could be: do it now, with the very same weights."""
    from runyard.trainers.language.callbacks import report_checkpoint

    trainer._load_from_checkpoint(str(guide.rundir.checkpoint(step)))
    trainer.state.global_step = step
    trainer.evaluate()
    if guide.state.evaluation_owed:  # stopped again, before it was done
        return
    guide.state.ended = guide.state.ended or step >= checkpoints.max_steps(guide.rundir.checkpoint(step))
    guide.state.save(guide.rundir.checkpoint(step))
    report_checkpoint(guide, step)


def _take_best(trainer: Any, guide: Guide) -> None:
    """A run that watches for the best weights delivers them; any other delivers its last."""
    if guide.spec.evaluation.early_stopping_patience is None:
        return
    best = checkpoints.best(guide.rundir, guide.state.eval_losses)
    if best is None or best == trainer.state.global_step:
        return
    checkpoints.require_as_written(guide.rundir, best)
    trainer._load_from_checkpoint(str(guide.rundir.checkpoint(best)))
    loss = guide.state.eval_losses[best]
    guide.emitter.message(f"the final weights are those of step {best}, with the lowest evaluation loss ({loss:.4g})")


def _replace_callbacks(trainer: Any, callbacks: list[Any]) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    for callback in callbacks:
        trainer.add_callback(callback)
