"""What to do next with a job: computed from facts, so that a restart needs no repair.

The names of jobs are here too: a job's name is its idempotency key at the engine (contract 1.6, promise 7).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import Enum, auto

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import EngineState, Job, JobPriority, JobState, JobStatus

MAX_JOB_NAME_LENGTH = 63  # contract 1.6
_MAX_KEY_LENGTH = 24  # so that a batch's id and a word of the AE Title and pipeline stay beside it


class Step(Enum):
    """One thing to do. Each ends in one durable fact."""

    CREATE = auto()
    UPLOAD = auto()
    START = auto()
    OBSERVE = auto()  # ask the engine, then decide with what it says
    WAIT = auto()  # it runs
    COLLECT = auto()  # it succeeded: take its results
    FAIL_ATTEMPT = auto()  # it failed: another attempt, or the dead letters
    DONE = auto()  # nothing, for ever or until a person acts


def next_step(job: Job, status: JobStatus | None = None) -> Step:
    """The next step of `job`. `status`: the engine's view, where it has been asked."""
    match job.state:
        case JobState.QUEUED:
            return Step.CREATE
        case JobState.CREATED:
            return Step.UPLOAD
        case JobState.UPLOADED:
            return Step.START
        case JobState.STARTED:
            return _observed(status)
        case JobState.SUCCEEDED | JobState.FAILED | JobState.CANCELED:
            return Step.DONE


def _observed(status: JobStatus | None) -> Step:
    if status is None:
        return Step.OBSERVE
    match status.state:
        case EngineState.PENDING | EngineState.RUNNING:
            return Step.WAIT
        case EngineState.STOPPED:
            return Step.COLLECT if status.healthy else Step.FAIL_ATTEMPT
        case EngineState.UNKNOWN:
            return Step.FAIL_ATTEMPT


def job_name(ae_title: str, pipeline_name: str, batch_id: str, key: str = "") -> str:
    """`<aet>-<pipeline>-<batch>[-<key>]`, normalised as contract 1.6 says. No patient data; the same at every try.

    The end is what makes the name unique, so where it is too long the AE Title and pipeline are cut; of a key that is
    too long, or not what a name may have, stands a digest.
    """
    if key and (len(key) > _MAX_KEY_LENGTH or _normalised(key) != key):
        key = _digest(key)
    unique = _normalised(f"{batch_id}-{key}" if key else batch_id)
    readable = _normalised(f"{ae_title}-{pipeline_name}")[: MAX_JOB_NAME_LENGTH - len(unique) - 1].strip("-")
    return f"{readable}-{unique}"[-MAX_JOB_NAME_LENGTH:].lstrip("-")


def distinct_key(key: str, pipeline_id: str) -> str:
    """A job's key where another pipeline's job of the same batch has its name already.

    That is so where the names of two pipelines differ only in what is cut, or in what a name may not have.
    """
    return _digest(f"{pipeline_id}\n{key}")


def attempt_name(name: str, attempt: int) -> str:
    """The name of one attempt, for an engine that tells jobs apart by name. That of the first is the job's own."""
    if attempt == 1:
        return name
    suffix = f"-attempt-{attempt}"
    return f"{name[-(MAX_JOB_NAME_LENGTH - len(suffix)) :].lstrip('-')}{suffix}"


def job_priority(settings: Mapping[str, str]) -> JobPriority:
    """The priority that an AE Title's processor settings give its jobs, in any case; normal where they give none.

    Raises PermanentError for another word.
    """
    word = settings.get("priority", JobPriority.NORMAL)
    try:
        return JobPriority(word.lower())
    except ValueError:
        allowed = ", ".join(JobPriority)
        raise PermanentError(f"processor setting priority is {word[:32]!r}: mend the AE Title ({allowed})") from None


def job_retry_delay(settings: Mapping[str, str]) -> float | None:
    """Seconds before a job is tried again, as an AE Title's `jobRetryDelay` says in ms (contract 5.6).

    None: it says nothing, or has a processor to which the word means something else.
    """
    milliseconds = settings.get("jobRetryDelay", "")
    return int(milliseconds) / 1000 if re.fullmatch(r"[0-9]{1,8}", milliseconds, re.ASCII) else None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _normalised(text: str) -> str:
    return re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9-]", "-", text)).strip("-").lower()
