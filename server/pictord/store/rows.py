"""Domain objects as rows, and back."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pictord.domain.generation import Attempt, AttemptState, Generation, Image, Output, State, Timings
from pictord.domain.money import Cost, CostBasis, Usage
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.domain.request import Quality
from pictord.store import record
from pictord.store.base import Ending, Opening
from pictord.store.progress import with_attempts

Row = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_NAME = 512
"""Characters; PostgreSQL's indexes take 2,704 bytes (https://www.postgresql.org/docs/15/btree-implementation.html)."""


def micros(time: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def time(micros: int) -> datetime:
    """The point in time, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def _micros_or_none(time: datetime | None) -> int | None:
    return None if time is None else micros(time)


def _time_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else time(micros)


def storable(text: str) -> str:
    """A provider's words as both databases take them: no NUL (PostgreSQL), no half surrogate pair (both)."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def name(text: str) -> str:
    """A provider's id or version: no longer than an index takes, whatever it is."""
    return storable(text)[:_LONGEST_NAME]


# Generations


def generation_row(opening: Opening, replica: str | None = None) -> Row:
    """A generation that begins; `replica` runs it."""
    generation = opening.generation
    request, plan = generation.request, generation.plan
    return {
        "id": generation.id,
        "caller": generation.caller,
        "request_id": request.request_id,
        "state": generation.state.value,
        "create_time": micros(generation.create_time),
        "output_count": len(generation.outputs),
        **_grouping(opening),
        "model": plan.candidates[0].model if plan.candidates else None,
        "set_id": request.lineage.set_id,
        "reroll_of": request.lineage.reroll_of,
        "text": generation.text,
        "queue_s": 0.0,
        "provider_s": 0.0,
        "store_s": 0.0,
        "overhead_s": 0.0,
        "replica": replica,
        "limits": record.encode_limits(opening.own_limits),
        "record": record.encode(record.Record(request, plan)),
    }


def _grouping(opening: Opening) -> Row:
    """What usage is grouped by, beside provider and model."""
    request = opening.generation.request
    return {
        "tier": request.tier.value,
        "workflow": request.workflow.value if request.workflow else None,
        "row_name": opening.generation.plan.row,
        "end_user": opening.end_user,
    }


def ending_row(generation_id: str, ending: Ending, images: Iterable[Image], kept_since: int) -> Row:
    """How a generation ended, with who drew it, if somebody did."""
    drawn = next(iter(images), None)
    return {
        "generation_id": generation_id,
        "state": ending.state.value,
        "reason": ending.reason.value if ending.reason else None,
        "text": storable(ending.text),
        "queue_s": ending.timings.queue_s,
        "provider_s": ending.timings.provider_s,
        "store_s": ending.timings.store_s,
        "overhead_s": ending.timings.overhead_s,
        "finish_time": micros(ending.finish_time),
        "kept_since": kept_since,
        "drawn_model": drawn.model if drawn else None,
        "served_version": name(drawn.served_version) if drawn else None,
    }


def generation(row: Any, attempts: Iterable[Attempt], outputs: Mapping[int, Output]) -> Generation:
    """A generation from its row and what belongs to it."""
    recorded = record.decode(row.record)
    read = Generation(
        id=row.id,
        caller=row.caller,
        request=recorded.request,
        plan=recorded.plan,
        create_time=time(row.create_time),
        state=State(row.state),
        outputs=tuple(outputs.get(index) or Output(index) for index in range(row.output_count)),
        timings=Timings(row.queue_s, row.provider_s, row.store_s, row.overhead_s),
        finish_time=_time_or_none(row.finish_time),
        reason=Reason(row.reason) if row.reason else None,
        text=row.text,
    )
    return with_attempts(read, attempts)


# Attempts


def first_attempt_row(opening: Opening, attempt: Attempt) -> Row:
    """An attempt that is opened with its generation."""
    return attempt_row(attempt, {"caller": opening.generation.caller, **_grouping(opening)}, opening.generation.id)


def attempt_row(attempt: Attempt, grouping: Row, generation_id: str) -> Row:
    """An attempt that begins; `grouping` is what it takes over from its generation."""
    created = attempt.create_time
    return {
        **grouping,
        "id": attempt.id,
        "generation_id": generation_id,
        "output_index": attempt.output_index,
        "attempt_index": attempt.index,
        "provider": attempt.provider,
        "model": attempt.model,
        "quality": attempt.quality.value if attempt.quality else None,
        "day": created.astimezone(UTC).date().isoformat() if created else "",
        "after": attempt.after.value if attempt.after else None,
        "adaptations": record.encode_adaptations(attempt.adaptations),
        "estimated_nanos": attempt.estimated_nanos,
        "create_time": _micros_or_none(created),
        "pictures": 0,
        **_course(attempt),
    }


def finished_row(attempt: Attempt, image: Image | None) -> Row:
    """What the end of an attempt changes in its row."""
    return {"attempt_id": attempt.id, "pictures": int(image is not None), **_course(attempt)}


def _course(attempt: Attempt) -> Row:
    usage = attempt.usage
    return {
        "state": attempt.state.value,
        "served_model": name(attempt.served_model),
        "served_version": name(attempt.served_version),
        "provider_request_id": name(attempt.provider_request_id),
        "outcome": attempt.outcome.value if attempt.outcome else None,
        "detail": storable(attempt.detail),
        "cost_nanos": attempt.cost.nanos,
        "cost_basis": attempt.cost.basis.value,
        "text_in_tokens": usage.text_in_tokens if usage else None,
        "image_in_tokens": usage.image_in_tokens if usage else None,
        "text_out_tokens": usage.text_out_tokens if usage else None,
        "image_out_tokens": usage.image_out_tokens if usage else None,
        "sent_time": _micros_or_none(attempt.sent_time),
        "finish_time": _micros_or_none(attempt.finish_time),
    }


COURSE = (*_course(Attempt("", 0, 0, "", "", None, 0)), "pictures")
"""The columns that change while an attempt takes its course."""


def attempt(row: Any) -> Attempt:
    """An attempt from its row."""
    usage = None
    if row.text_in_tokens is not None:
        usage = Usage(row.text_in_tokens, row.image_in_tokens, row.text_out_tokens, row.image_out_tokens)
    return Attempt(
        id=row.id,
        output_index=row.output_index,
        index=row.attempt_index,
        provider=row.provider,
        model=row.model,
        quality=Quality(row.quality) if row.quality else None,
        estimated_nanos=row.estimated_nanos,
        after=Outcome(row.after) if row.after else None,
        adaptations=record.decode_adaptations(row.adaptations),
        state=AttemptState(row.state),
        served_model=row.served_model,
        served_version=row.served_version,
        provider_request_id=row.provider_request_id,
        outcome=Outcome(row.outcome) if row.outcome else None,
        detail=row.detail,
        usage=usage,
        cost=Cost(row.cost_nanos, CostBasis(row.cost_basis)),
        create_time=_time_or_none(row.create_time),
        sent_time=_time_or_none(row.sent_time),
        finish_time=_time_or_none(row.finish_time),
    )


# Outputs and images


def output_row(generation_id: str, output: Output) -> Row:
    """How one output ended."""
    return {
        "generation_id": generation_id,
        "output_index": output.index,
        "state": output.state.value,
        "image_id": output.image.id if output.image else None,
        "reason": output.reason.value if output.reason else None,
        "text": storable(output.text),
    }


def output(row: Any, images: Mapping[str, Image]) -> Output:
    """An output from its row; `images` holds those of its generation by id."""
    reason = Reason(row.reason) if row.reason else None
    return Output(row.output_index, State(row.state), images.get(row.image_id), reason, row.text)


def image_row(caller: str, image: Image, *, generation_id: str | None, kept_since: int | None) -> Row:
    """A picture: drawn for a generation, or uploaded."""
    return {
        "id": image.id,
        "generation_id": generation_id,
        "caller": caller,
        "kept_since": kept_since,
        "output_index": image.output_index,
        "mime": image.mime,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "size_bytes": image.size_bytes,
        "sha256": image.sha256,
        "model": image.model,
        "served_model": name(image.served_model),
        "served_version": name(image.served_version),
        "has_c2pa": image.has_c2pa,
    }


def image(row: Any) -> Image:
    """A picture from its row."""
    return Image(
        id=row.id,
        output_index=row.output_index,
        mime=row.mime,
        width_px=row.width_px,
        height_px=row.height_px,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        model=row.model,
        served_model=row.served_model,
        served_version=row.served_version,
        has_c2pa=bool(row.has_c2pa),
    )
