"""One language-model job, in the order in which things happen."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runyard.data.errors import DataError
from runyard.protocol import folders
from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers import checkpoints, machine, manifest, quiet
from runyard.trainers.failures import TrainingError
from runyard.trainers.language import check, choices, export, frozen, models, origin
from runyard.trainers.language.choices import Plan
from runyard.trainers.language.models import ModelShape
from runyard.trainers.language.state import RunState
from runyard.trainers.machine import Machine
from runyard.trainers.stop import Stop, Stopped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from runyard.trainers.language.trl_trainers import Guide
    from runyard.trainers.text.prepare import Prepared
    from runyard.trainers.text.prompts import Prompt

PROGRESS_INTERVAL = 0.2
COMPARED_ROWS, COMPARED_TOKENS = 4, 256


@dataclass
class Job:
    spec: SftSpec | DpoSpec
    rundir: RunDir
    emitter: Emitter
    stop: Stop
    cache: Path

    def run(self) -> None:
        """Prepare, load, train, save, merge. Raises Stopped, or an error that `failures.classify` knows."""
        self.emitter.phase("preparing")
        with self.stop.interruptible():
            quiet.libraries()
            here = machine.look()
            if problems := check.settings_problems(self.spec, here):
                raise TrainingError("bad_config", "; ".join(str(problem) for problem in problems))
            shape = models.shape(models.load_config(self.spec.model, self.cache))
            tokenizer = models.load_tokenizer(self.spec.model, self.cache)
            prepared = self._prepare(tokenizer)
            asked = self._prompts(prepared, tokenizer, shape)
            start = origin.settle(self.rundir, self.spec, prepared.report.fingerprint, self.emitter)
        plan = self._plan(prepared, here, shape)
        self.emitter.phase("loading")
        with self.stop.interruptible():
            guide, trainer = self._load(plan, prepared, tokenizer, here)
            guide.start = start
            quiet.hub()
        self._train(guide, trainer, asked)
        self._save(guide, trainer, tokenizer)
        if self.spec.output.merge:
            del trainer
            self._merge(plan, prepared, tokenizer)
        manifest.report(self.rundir, self.emitter)

    def _prepare(self, tokenizer: "PreTrainedTokenizerBase") -> "Prepared":
        from runyard.trainers.text.prepare import prepare

        told_at = 0.0

        def progress(done: int, total: int | None) -> None:
            nonlocal told_at
            now = time.monotonic()
            if done == total or now - told_at >= PROGRESS_INTERVAL:
                told_at = now
                with self.stop.interruptible(on=False):
                    self.emitter.progress("preparing", done, total)

        return prepare(self.spec, tokenizer, progress, self.cache)

    def _prompts(self, prepared: "Prepared", tokenizer: "PreTrainedTokenizerBase", shape: ModelShape) -> "list[Prompt]":
        from runyard.trainers.text import prompts

        try:
            return prompts.read(self.spec, tokenizer, prepared.eval, shape.max_positions)
        except DataError as error:
            raise TrainingError("bad_config", str(error)) from None

    def _plan(self, prepared: "Prepared", here: Machine, shape: ModelShape) -> Plan:
        """Choose what the job leaves open; a run with a checkpoint keeps what it began with."""
        report = prepared.report
        last = checkpoints.newest(self.rundir)
        kept = frozen.load(self.rundir, self.spec, report.fingerprint, last[0]) if last else None
        plan, chosen = choices.choose(self.spec, report, here, shape, kept)
        if kept is None:
            frozen.save(self.rundir, self.spec, report.fingerprint, plan, chosen)
        summary = check.data_summary(report)
        self.emitter.message(
            f"{report.rows} rows, {report.trained_tokens} of {report.tokens} tokens trained", **summary
        )
        for warning in [*report.warnings, *check.position_warnings(self.spec, shape)]:
            self.emitter.message(warning, level="warning")
        for choice in chosen:
            self.emitter.message(str(choice), choice=choice.model_dump())
        return plan

    def _load(
        self, plan: Plan, prepared: "Prepared", tokenizer: "PreTrainedTokenizerBase", here: Machine
    ) -> tuple["Guide", Any]:
        from runyard.trainers.language import dpo, sft
        from runyard.trainers.language.trl_trainers import Guide

        last = checkpoints.newest(self.rundir)
        guide = Guide(
            spec=self.spec,
            plan=plan,
            rundir=self.rundir,
            emitter=self.emitter,
            stop=self.stop,
            state=RunState.load(last[1]) if last else RunState(),
            lengths=prepared.report.lengths,
            cache=self.cache,
            on_gpu=here.gpu is not None,
            gpu_uuid=here.gpu.uuid if here.gpu else None,
        )
        is_full = self.spec.adapter.type == "none"
        model = models.load_model(
            self.spec.model, plan.dtype, self.cache, trainable=is_full, arrived=self._tell_of_arrival
        )
        if isinstance(self.spec, DpoSpec):
            return guide, dpo.trainer(self.spec, guide, prepared, model, tokenizer)
        return guide, sft.trainer(self.spec, guide, prepared, model, tokenizer)

    def _tell_of_arrival(self, kilobytes: int) -> None:
        """No step moves meanwhile, but it is at work."""
        known = self.emitter.snapshot
        self.emitter.progress("loading", known.step, known.total_steps, epoch=known.epoch, batch=kilobytes)

    def _train(self, guide: "Guide", trainer: Any, asked: "list[Prompt]") -> None:
        from runyard.trainers.language import training

        training.train(trainer, guide, asked)
        if self.stop.requested:
            raise Stopped

    def _save(self, guide: "Guide", trainer: Any, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.emitter.phase("saving")
        with folders.written_whole(self.rundir.final) as folder:
            export.write(trainer.model, tokenizer, folder)
        state = guide.state
        about = {
            "kind": self.spec.kind,
            "model": self.spec.model.name,
            "best_eval_loss": state.best_eval_loss,
            "best_eval_step": state.best_eval_step,
        }
        manifest.add(self.rundir, self.emitter, self.rundir.final, "model", about)

    def _merge(self, plan: Plan, prepared: "Prepared", tokenizer: "PreTrainedTokenizerBase") -> None:
        from runyard.trainers.language import merge

        self.emitter.phase("merging")
        column = "input_ids" if self.spec.kind == "sft" else "prompt_ids"
        rows = [row[:COMPARED_TOKENS] for row in prepared.train[:COMPARED_ROWS][column]]
        with self.stop.interruptible():
            agreement = merge.merge(self.spec, plan.dtype, self.rundir, tokenizer, rows, self.cache)
        about: dict[str, Any] = {
            "max_logit_difference": agreement.max_difference,
            "same_top_token": agreement.same_top_token,
        }
        manifest.add(self.rundir, self.emitter, self.rundir.merged, "merged_model", {"merge": about})
        self.emitter.message(
            f"merged model checked: logits differ by at most {agreement.max_difference:.2g} over {len(rows)} rows",
            **about,
        )
