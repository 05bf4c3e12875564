"""How fast a run goes, and when it will end."""

from collections.abc import Callable


class Pace:
    """Speeds over the time since the last report; the time of evaluations and saves does not count as training."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._mark = clock()
        self._first_step = self._step = 0
        self._samples = self._tokens = 0

    def begin(self, step: int, tokens: int) -> None:
        self._began = self._mark = self._clock()
        self._first_step = self._step = step
        self._tokens = tokens

    def skip(self) -> None:
        """Something other than training took place until now."""
        self._mark = self._clock()

    def lap(self, step: int, *, samples: int, tokens: int, trained_tokens: int) -> dict[str, float]:
        """Speeds since the last lap, from running totals (`trained_tokens` alone is a count since then)."""
        now = self._clock()
        seconds = max(now - self._mark, 1e-9)
        values = {
            "samples_per_second": (samples - self._samples) / seconds,
            "tokens_per_second": (tokens - self._tokens) / seconds,
            "trained_tokens_per_second": trained_tokens / seconds,
            "iteration_seconds": seconds / max(step - self._step, 1),
        }
        self._mark, self._step, self._samples, self._tokens = now, step, samples, tokens
        return values

    def eta_seconds(self, step: int, total: int) -> float | None:
        """From this process's own pace, evaluations and saves included; None before the first step."""
        done = step - self._first_step
        return (self._clock() - self._began) / done * (total - step) if done > 0 else None
