"""Lists in pages: newest first, `next` of one page is `before` of the following."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Annotated, Any, TypeVar

from pydantic import Field

from dicom_adapter.api import schemas
from dicom_adapter.core.model import AssociationOutcome, BatchState, ExportState, JobState, ResultsTaskState
from dicom_adapter.store import queries

MAX_PAGE = 1000

Item = TypeVar("Item", bound=schemas.Schema)


class Page(schemas.Parameters):
    """What every list may be asked."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most.")] = 100
    before: Annotated[str | None, Field(description="The `next` of the page before: goes on behind it.")] = None

    def query(self) -> queries.Page:
        """The same as the store is asked."""
        filters = self.model_dump(exclude={"limit", "before"}, exclude_none=True)
        return queries.Page(self.limit, self.before, filters)


class Rejections(schemas.Parameters):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most.")] = 100


class Associations(Page):
    outcome: AssociationOutcome | None = None
    called_ae_title: str | None = None
    calling_ae_title: str | None = None

    def fits(self, one: schemas.Association) -> bool:
        """Whether an association that is open is to be shown."""
        return (
            self.outcome is None
            and self.called_ae_title in (None, one.called_ae_title)
            and self.calling_ae_title in (None, one.calling_ae_title)
        )


class Studies(Page):
    before: Annotated[str | None, Field(description="The `next` of the page before.", pattern=queries.PLACE)] = None
    called_ae_title: str | None = None


class Batches(Page):
    state: BatchState | None = None
    called_ae_title: str | None = None


class Jobs(Page):
    state: JobState | None = None
    called_ae_title: str | None = None
    pipeline_id: str | None = None
    batch_id: str | None = None


class Exports(Page):
    state: ExportState | None = None
    destination: str | None = None
    job_id: str | None = None
    results_task_id: str | None = None


class ResultsTasks(Page):
    state: ResultsTaskState | None = None
    task_id: str | None = None
    job_id: str | None = None


def page(
    items: Sequence[Item],
    rows: Sequence[Mapping[Any, Any]],
    limit: int,
    place_of: Callable[[Any], str] = itemgetter("id"),
) -> schemas.Items[Item]:
    """The items of rows; `next`, the place of the last row, where there may be more of them."""
    return schemas.Items(items=tuple(items), next=place_of(rows[-1]) if len(rows) == limit else None)
