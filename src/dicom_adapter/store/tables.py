"""The tables. A state's name and the transition into it are in `core.model`; invariants are unique indexes here.

Times are seconds since the epoch. Rows of `associations` and `instances` can be rebuilt from the spool.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UID = String(64)  # PS3.5 9.1
AE = String(16)  # PS3.5 table 6.2-1
ID = String(32)

batches = Table(
    "batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("called_ae_title", AE, nullable=False),
    Column("state", String(16), nullable=False),
    Column("policy", Text, nullable=False),  # the Clara AE Title as it was when the batch opened, as JSON
    Column("opened_at", Float, nullable=False),
    Column("deadline", Float),
    Column("closed_at", Float),
    Column("ended_at", Float),  # processed or dropped
    Column("held_reason", Text),
    Column("removed_at", Float),
    # One batch collects for an AE Title at a time.
    Index(
        "uq_batches_collecting",
        "called_ae_title",
        unique=True,
        sqlite_where=text("state = 'collecting'"),
        postgresql_where=text("state = 'collecting'"),
    ),
    Index("ix_batches_state", "state"),
)

associations = Table(
    "associations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("calling_ae_title", AE, nullable=False),
    Column("called_ae_title", AE, nullable=False),
    Column("peer_host", Text, nullable=False),
    Column("peer_port", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("refused", Integer, nullable=False, server_default=text("0")),  # C-STORE requests not answered Success
    Column("refused_why", Text),  # the last of those answers, in words
    Column("refused_unnamed", Integer, nullable=False, server_default=text("0")),  # those that `refusals` does not name
    Column("batch_id", ID, ForeignKey("batches.id")),  # all its instances are in this batch, or in none
    Column("set_aside_until", Float),  # aborted: removed then
    Column("removed_at", Float),  # its files are no longer in the spool
    Index("ix_associations_batch_id", "batch_id"),
    Index("ix_associations_removed_at", "removed_at"),
)

refusals = Table(
    "refusals",  # instances that C-STORE was refused for
    metadata,
    Column("association_id", ID, ForeignKey("associations.id", ondelete="CASCADE"), primary_key=True),
    Column("sop_instance_uid", UID, primary_key=True),
)

instances = Table(
    "instances",
    metadata,
    Column("association_id", ID, ForeignKey("associations.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False),
    Column("study_instance_uid", UID),
    Column("series_instance_uid", UID),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("size", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    # Another instance with the same SOP Instance UID took its place in the batch, or it came second.
    Column("superseded", Boolean, nullable=False, server_default=text("0")),
    Index("ix_instances_study_instance_uid", "study_instance_uid"),
    Index("ix_instances_sop_instance_uid", "sop_instance_uid"),  # is it in the batch already?
)

processings = Table(
    "processings",
    metadata,
    Column("batch_id", ID, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("processor", Text, nullable=False),
    Column("failures", Integer, nullable=False, default=0),
    Column("next_attempt_at", Float),
    Column("reason", Text),
    Column("done_at", Float),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),  # the idempotency key
    Column("batch_id", ID, ForeignKey("batches.id"), nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("pipeline_name", Text, nullable=False),
    Column("called_ae_title", AE, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, default=1),
    Column("attempts_allowed", Integer, nullable=False, default=1),
    Column("failures", Integer, nullable=False, default=0),  # temporary errors in a row
    Column("created_at", Float, nullable=False),
    Column("next_attempt_at", Float),
    Column("engine_job_id", Text),
    Column("engine_payload_id", Text),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("reason", Text),
    Column("partial", Boolean, nullable=False, default=False),  # its instances are in job_instances
    Column("removed_at", Float),
    Index("ix_jobs_state", "state"),
    Index("ix_jobs_batch_id", "batch_id"),
)

job_instances = Table(
    "job_instances",
    metadata,
    Column("job_id", ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("association_id", ID, primary_key=True),
    Column("number", Integer, primary_key=True),
    ForeignKeyConstraint(["association_id", "number"], ["instances.association_id", "instances.number"]),
    Index("ix_job_instances_association_id", "association_id", "number"),  # looked up for each instance forgotten
)

quarantined_files = Table(
    "quarantined_files",
    metadata,
    Column("job_id", ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

results_tasks = Table(
    "results_tasks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("task_id", String(64), nullable=False, unique=True),  # the Results Service's: a task is stored once
    Column("job_id", ID, ForeignKey("jobs.id", ondelete="SET NULL")),  # ours, if the platform ran it for us
    Column("platform_job_id", Text, nullable=False),
    Column("payload_id", Text, nullable=False),
    Column("uris", Text, nullable=False),  # as JSON
    Column("state", String(16), nullable=False),
    Column("turns", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("failures", Integer, nullable=False),  # in a row, of keeping files or of reporting
    Column("created_at", Float, nullable=False),
    Column("next_attempt_at", Float),
    Column("ended_at", Float),
    Column("reason", Text),
    Column("reported_at", Float),
    Column("removed_at", Float),
    Index("ix_results_tasks_state", "state"),
    Index("ix_results_tasks_job_id", "job_id"),
)

export_tasks = Table(
    "export_tasks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, ForeignKey("jobs.id")),
    Column("results_task_id", ID, ForeignKey("results_tasks.id", ondelete="CASCADE")),
    Column("destination", Text, nullable=False),
    Column("peer", Text),  # of a results task: the destination as it was when the turn began, as JSON
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),  # of the present round; `retry ID` begins a new one
    Column("created_at", Float, nullable=False),
    Column("next_attempt_at", Float),
    Column("ended_at", Float),
    Column("reason", Text),
    CheckConstraint("(job_id IS NULL) <> (results_task_id IS NULL)", name="ck_export_tasks_one_origin"),
    Index("uq_export_tasks_job_destination", "job_id", "destination", unique=True),
    Index("uq_export_tasks_results_task_destination", "results_task_id", "destination", unique=True),
    Index("ix_export_tasks_state", "state"),
)

export_files = Table(
    "export_files",
    metadata,
    Column("task_id", ID, ForeignKey("export_tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("sop_class_uid", UID),  # no UIDs: not here, or in quarantine
    Column("sop_instance_uid", UID),
    Column("study_instance_uid", UID),
    Column("transfer_syntax_uid", UID),
    Column("size", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("status", Integer),
    Column("reason", Text),
)
