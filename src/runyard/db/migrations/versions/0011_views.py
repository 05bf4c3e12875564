"""What dashboards read. Whoever makes the table `jobs` anew has to drop these views first, and make them again."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ACTIVE = """
CREATE VIEW active_training_jobs AS
SELECT id AS job_id, tenant, "user", name, kind, model, experiment, state AS status, priority, gpus, wait_cause,
    throughput, last_loss, best_name AS best_metric_name, best_value AS best_metric,
    created_at, queued_at, started_at, updated_at
FROM jobs
WHERE removed_at IS NULL AND state IN ('queued', 'starting', 'running', 'pausing', 'cancelling')
"""
EXPERIMENTS = """
CREATE VIEW experiment_summary AS
WITH runs AS (
    SELECT *, row_number() OVER (
        PARTITION BY tenant, experiment
        ORDER BY CASE WHEN best_value IS NULL THEN 2 WHEN best_name = 'eval_loss' THEN 0 ELSE 1 END, best_value, id
    ) AS place
    FROM jobs
    WHERE removed_at IS NULL AND experiment IS NOT NULL
)
SELECT tenant, experiment,
    count(*) AS runs,
    sum(CASE WHEN state = 'completed' THEN 1 ELSE 0 END) AS completed_runs,
    sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed_runs,
    max(CASE WHEN place = 1 AND best_value IS NOT NULL THEN id END) AS best_job_id,
    max(CASE WHEN place = 1 THEN best_name END) AS best_metric_name,
    max(CASE WHEN place = 1 THEN best_value END) AS best_metric,
    sum(training_seconds) AS training_seconds,
    min(created_at) AS first_run_at,
    max(created_at) AS last_run_at
FROM runs
GROUP BY tenant, experiment
"""


def upgrade() -> None:
    op.execute(ACTIVE)
    op.execute(EXPERIMENTS)
