"""Experiments, pipelines and their versions, runs, tasks and the cache.

A run is a tree of tasks: the root task is the run's own DAG, a DAG task has the tasks of its component as children, an
executor task is one step. A row tells one task's whole life; its id is derived from the run's and the task's path.
`waiting` and `open_children` are counters: a completion costs the same in a run of ten and of ten thousand tasks.
Rows of one run are changed only under the lock of its `runs` row.
"""

from typing import Any

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base, now_ms


class Experiment(Base):
    """A named group of runs."""

    __tablename__ = "experiments"
    __table_args__ = (UniqueConstraint("namespace", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    storage_state: Mapped[str] = mapped_column(default="AVAILABLE")
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    last_run_created_ms: Mapped[int | None] = mapped_column(BigInteger)


class Pipeline(Base):
    """A named pipeline; what it does is in its versions."""

    __tablename__ = "pipelines"
    __table_args__ = (UniqueConstraint("namespace", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str]
    name: Mapped[str]
    display_name: Mapped[str]
    description: Mapped[str]
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Words of the user's own: {key: value}, both texts."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class PipelineVersion(Base):
    """One uploaded definition of a pipeline."""

    __tablename__ = "pipeline_versions"
    __table_args__ = (
        UniqueConstraint("pipeline_id", "name"),
        Index("ix_pipeline_versions_newest", "pipeline_id", "created_ms"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    pipeline_id: Mapped[str]
    name: Mapped[str]
    display_name: Mapped[str]
    description: Mapped[str]
    code_source_url: Mapped[str]
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    spec_sha256: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class PipelineSpec(Base):
    """A submitted definition, kept once however many versions and runs use it."""

    __tablename__ = "pipeline_specs"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    """Of `document`."""
    document: Mapped[str] = mapped_column(Text)
    """Canonical JSON (sorted keys) of the PipelineSpec, or of {pipeline_spec, platform_spec}."""


class Run(Base):
    """One execution of a pipeline."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_namespace", "namespace", "created_ms"),
        Index("ix_runs_experiment", "experiment_id", "created_ms"),
        Index("ix_runs_recurring", "recurring_run_id", "state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str]
    experiment_id: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    pipeline_name: Mapped[str]
    pipeline_id: Mapped[str | None]
    pipeline_version_id: Mapped[str | None]
    spec_sha256: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    """As submitted; defaults are in the definition."""
    artifact_root: Mapped[str]
    """The URI below which this run's outputs lie."""
    pipeline_root: Mapped[str]
    """As submitted; empty when it was not."""
    service_account: Mapped[str]
    state: Mapped[str]
    """A RuntimeState of KFP: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED."""
    storage_state: Mapped[str] = mapped_column(default="AVAILABLE")
    error: Mapped[str | None]
    """One line: the first task that failed, and why."""
    retries: Mapped[int] = mapped_column(default=0)
    """How often the run was retried as a whole."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    finished_ms: Mapped[int | None] = mapped_column(BigInteger)
    state_history: Mapped[list[Any]]
    """[{state, update_ms, error?}], oldest first."""
    cause: Mapped[dict[str, Any] | None]
    """{source, id, type, subject} of the event that started the run; NULL when a client did."""
    recurring_run_id: Mapped[str | None]
    """The recurring run that started this one."""
    forked_from: Mapped[str | None]
    """The run whose unchanged steps this one takes over."""
    forked_at: Mapped[str | None]
    """The path of the task from which on everything runs again; NULL takes over all that is unchanged."""


class RecurringRun(Base):
    """A run that a clock starts again and again."""

    __tablename__ = "recurring_runs"
    __table_args__ = (Index("ix_recurring_runs_namespace", "namespace", "created_ms"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str]
    experiment_id: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    pipeline_id: Mapped[str | None]
    pipeline_version_id: Mapped[str | None]
    """NULL beside a pipeline means its newest version at each time."""
    spec_sha256: Mapped[str | None]
    """An inline definition, instead of a pipeline."""
    parameters: Mapped[dict[str, Any]]
    pipeline_root: Mapped[str]
    service_account: Mapped[str]
    max_concurrency: Mapped[int]
    no_catchup: Mapped[bool]
    enabled: Mapped[bool]
    cron: Mapped[str | None]
    """Six fields, seconds first."""
    interval_s: Mapped[int | None]
    start_ms: Mapped[int | None] = mapped_column(BigInteger)
    end_ms: Mapped[int | None] = mapped_column(BigInteger)
    next_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The first due time for which no run was started; NULL when there is none any more."""
    fired: Mapped[int] = mapped_column(default=0)
    """How many runs were started."""
    declared: Mapped[str | None]
    """The schedule that the PingSource should have; NULL for no PingSource."""
    generation: Mapped[int] = mapped_column(default=0)
    """Counts changes of `declared`."""
    error: Mapped[str | None]
    """Why the last due run could not be started."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    updated_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class Task(Base):
    """One task of a run: its root DAG, a nested DAG, or a step."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_children", "parent_id", "state", "waiting"),
        Index("ix_tasks_run", "run_id", "created_ms"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    parent_id: Mapped[str | None]
    """NULL for the root."""
    name: Mapped[str]
    """The names of the tasks from the root to this one, joined by dots; empty for the root."""
    display_name: Mapped[str]
    kind: Mapped[str]
    """`dag`, `loop`, `iteration` (a scope below a loop) or `step`."""
    state: Mapped[str]
    """A RuntimeState of KFP: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELED."""
    waiting: Mapped[int] = mapped_column(default=0)
    """How many of the tasks that this one depends on are not final yet."""
    open_children: Mapped[int] = mapped_column(default=0)
    """How many children are not final yet; of a loop, also those that have not begun."""
    iterations: Mapped[int | None]
    """How many items a loop has."""
    begun: Mapped[int] = mapped_column(default=0)
    """How many iterations of a loop have a row; how many tasks of any other scope run."""
    attempt: Mapped[int] = mapped_column(default=0)
    """The number of the last execution, from 1; never reused, so that a late answer is recognised."""
    first_attempt: Mapped[int] = mapped_column(default=1)
    """The attempt from which the retry policy counts; a retry of the run starts a new count."""
    inputs: Mapped[dict[str, Any] | None]
    """{parameters: {name: value}, artifacts: {name: [artifact]}} as resolved when the task became ready."""
    outputs: Mapped[dict[str, Any] | None]
    """The same of what it gave; artifacts are {id, name, type, uri, sha256, size_bytes, metadata}."""
    error: Mapped[str | None]
    exit_code: Mapped[int | None]
    log_uri: Mapped[str | None]
    cache_key: Mapped[str | None]
    content_key: Mapped[str | None]
    """sha256 of what tells this execution from others: namespace, code, image, parameters, content of inputs."""
    cached_from: Mapped[str | None]
    """The task whose outputs this one reuses."""
    cache_note: Mapped[str | None]
    """Why outputs that were found were not reused."""
    usage: Mapped[dict[str, Any] | None]
    """What all attempts have cost: {attempts, wall_ms, cpu_ms, max_rss_bytes, bytes_in, bytes_out}."""
    timings: Mapped[dict[str, Any] | None]
    """Milliseconds of each phase of the last execution, as the step reported them."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    requested_ms: Mapped[int | None] = mapped_column(BigInteger)
    """When the last execution was asked for."""
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    finished_ms: Mapped[int | None] = mapped_column(BigInteger)
    not_before_ms: Mapped[int | None] = mapped_column(BigInteger)
    """When a delayed retry is due."""


class CacheEntry(Base):
    """The newest outputs of a component for given content of its inputs."""

    __tablename__ = "cache_entries"

    key: Mapped[str] = mapped_column(primary_key=True)
    """sha256 of component content, resolved parameters, input artifacts' content and namespace."""
    namespace: Mapped[str]
    run_id: Mapped[str]
    task_id: Mapped[str]
    outputs: Mapped[dict[str, Any]]
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
