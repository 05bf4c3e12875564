"""Figures of jobs. The names are those that clients rely on; null is what can't be known, and `warnings` says why."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class Duration(Shape):
    total_seconds: float | None
    """In which it held a machine; waits and pauses don't count."""
    training_seconds: float | None
    overhead_seconds: float | None


class Performance(Shape):
    average_samples_per_second: float | None
    peak_samples_per_second: float | None
    average_iteration_time: float | None
    """Seconds."""
    total_iterations: int | None
    total_samples: int | None


class ResourceUtilization(Shape):
    average_gpu_utilization: float | None
    """Percent."""
    peak_gpu_memory_mb: float | None
    average_gpu_memory_mb: float | None
    average_gpu_temp_celsius: float | None
    peak_gpu_temp_celsius: float | None


class CheckpointFigures(Shape):
    total_checkpoints: int
    checkpoint_frequency_steps: int | None
    best_checkpoint: str | None
    """Where it lies in the run folder."""
    final_checkpoint: str | None


class Losses(Shape):
    """Of training."""

    initial_loss: float | None
    final_loss: float | None
    best_loss: float | None
    loss_reduction_percent: float | None


class Efficiency(Shape):
    """0 to 100."""

    gpu_utilization_score: float | None
    throughput_score: float | None
    """Against the best of like jobs."""
    overall_score: float | None


class JobAnalytics(Shape):
    job_id: str
    status: str
    duration: Duration
    performance: Performance
    resource_utilization: ResourceUtilization
    checkpoints: CheckpointFigures
    losses: Losses
    efficiency: Efficiency
    warnings: list[str]


class TopJob(Shape):
    job_id: str
    throughput: float | None
    duration: float | None


class ResourceTrends(Shape):
    average_gpu_utilization: float | None
    average_peak_memory_mb: float | None


class Summary(Shape):
    total_jobs: int
    jobs_by_status: dict[str, int]
    average_training_duration_seconds: float | None
    """Of completed jobs."""
    total_training_time_hours: float
    average_throughput_samples_per_sec: float | None
    top_performing_jobs: list[TopJob]
    resource_trends: ResourceTrends
    warnings: list[str]


class ComparedJob(Shape):
    job_id: str
    duration_seconds: float | None
    throughput: float | None
    final_loss: float | None
    gpu_utilization: float | None
    name: str
    status: str
    best_loss: float | None
    best_eval_loss: float | None
    overall_score: float | None


class Winner(Shape):
    """Job ids."""

    best_throughput: str | None
    best_loss: str | None
    fastest: str | None
    most_efficient: str | None


class MetricEnds(Shape):
    lowest: float | None
    highest: float | None
    last: float | None


class Comparison(Shape):
    jobs: list[ComparedJob]
    winner: Winner
    differences: dict[str, dict[str, Any]]
    """Settings that are not the same for all, by dotted path: the value of each job."""
    best_metrics: dict[str, dict[str, MetricEnds]]
    """By job and value."""
    warnings: list[str]


class Waits(Shape):
    """Seconds in line before a machine was had."""

    count: int
    p50: float | None
    p95: float | None


class UserShare(Shape):
    user: str
    gpu_hours: float
    ended: int
    failed: int


class PeriodRead(Shape):
    start: float
    end: float
    gpu_hours: float
    ended: int
    completed: int
    throughput: float | None
    """Samples a second, the mean of jobs that were completed."""
    waits: Waits
    failures: dict[str, int]
    """By reason."""
    users: list[UserShare]


class Trends(Shape):
    tenant: str
    by: str
    periods: list[PeriodRead]
    """Oldest first: whole days, or weeks from Monday on, in UTC."""
    warnings: list[str]
