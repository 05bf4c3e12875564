"""Rough memory arithmetic: how many rows fit in one forward and backward pass."""

import math
from dataclasses import dataclass

from runyard.protocol.specs.language import DpoSpec, DType, SftSpec
from runyard.trainers.language.models import ModelShape
from runyard.trainers.machine import Machine

ACTIVATION_VALUES = 17
"""Values kept for the backward pass, per token, layer and hidden unit (Korthikanti et al., 2022, arXiv:2205.05198:
34 bytes at two bytes a value, without the attention matrix, which fused attention never stores)."""
OPTIMIZER_BYTES = 12
"""Gradient and two moments in fp32, for each trained weight."""
FIXED_GPU_BYTES = 1.5e9
USABLE = {"gpu": 0.75, "cpu": 0.4}
TOKENS_AT_ONCE = {"gpu": 16384, "gpu_packed": 8192, "cpu": 2048}
"""More in one pass brings no more speed. Packed rows lie side by side in one sequence, whose attention is quadratic."""


@dataclass(frozen=True)
class MemoryPlan:
    spec: SftSpec | DpoSpec
    shape: ModelShape
    machine: Machine
    dtype: DType
    row_tokens: int

    def rows_at_once(self) -> tuple[int, str]:
        """Rows for one pass, and the reason."""
        by_memory = self._tokens_that_fit(checkpointing=self._checkpointing()) // self.row_tokens
        by_speed = self._tokens_worth_it() // self.row_tokens
        rows = int(max(1, min(by_memory, by_speed)))
        if by_memory < by_speed:
            return rows, f"what memory holds of rows of {self.row_tokens} tokens"
        return rows, f"{self.row_tokens} tokens a row: more at once would not be faster on {self.machine.device}"

    def needs_checkpointing(self) -> bool:
        """True when fewer than four rows, or what is worth it, fit with every activation kept."""
        wanted = min(4 * self.row_tokens, max(self.row_tokens, self._tokens_worth_it()))
        return self._tokens_that_fit(checkpointing=False) < wanted

    def _checkpointing(self) -> bool:
        given = self.spec.training.activation_checkpointing
        return self.needs_checkpointing() if given is None else given

    def _tokens_worth_it(self) -> int:
        if self.machine.gpu is None:
            return TOKENS_AT_ONCE["cpu"]
        return TOKENS_AT_ONCE["gpu_packed" if self.row_tokens == self.spec.training.max_length else "gpu"]

    def _tokens_that_fit(self, *, checkpointing: bool) -> float:
        width = 4 if self.dtype == "fp32" else 2
        layers = 1 if checkpointing else self.shape.layers
        per_token = (
            self.shape.hidden * width * (layers * ACTIVATION_VALUES + (self.shape.layers if checkpointing else 0))
        )
        return max(0.0, self._bytes_for_activations() / per_token)

    def _bytes_for_activations(self) -> float:
        if self.machine.gpu:
            usable = USABLE["gpu"] * self.machine.gpu.memory_bytes - FIXED_GPU_BYTES
        else:
            usable = USABLE["cpu"] * self.machine.memory_bytes
        return usable - self.shape.parameters * self._bytes_a_weight()

    def _bytes_a_weight(self) -> float:
        if self.spec.adapter.type == "none":
            return 4 + OPTIMIZER_BYTES
        by_quantization = {"4bit": 0.65, "8bit": 1.1, None: 4.0 if self.dtype == "fp32" else 2.0}
        return by_quantization[self.spec.model.quantization]


def power_of_two_below(value: float) -> int:
    """The largest power of two that is not above the value, at least 1."""
    return 2 ** max(0, math.floor(math.log2(value))) if value >= 1 else 1


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that is not above the limit, at least 1."""
    return next(divisor for divisor in range(max(1, min(number, limit)), 0, -1) if number % divisor == 0)
