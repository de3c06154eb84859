"""From the domain to the contract: plans, generations, events, money."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from pictor.v1 import generation_pb2, image_pb2
from pictord.assets.links import Link
from pictord.domain import events, generation, money, plan, request
from pictord.domain.reason import Reason
from pictord.rpc import enums

Linker: TypeAlias = Callable[[generation.Image], Link | None]
"""Where a picture can be fetched over HTTP; None if nowhere."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def no_link(_image: generation.Image) -> None:
    """The `Linker` of a gateway that serves no pictures over HTTP."""
    return


def money_message(nanos: int) -> image_pb2.Money:
    """Nano-USD as Money; units and nanos have the same sign."""
    units, rest = divmod(abs(nanos), money.NANOS_PER_USD)
    sign = -1 if nanos < 0 else 1
    return image_pb2.Money(currency_code="USD", units=sign * units, nanos=sign * rest)


def cost_message(cost: money.Cost, price_version: str = "") -> image_pb2.Cost:
    """A cost with the version of the price table it was computed with, if it was one table."""
    return image_pb2.Cost(
        amount=money_message(cost.nanos), basis=enums.COST_BASIS.to_proto(cost.basis), price_version=price_version
    )


def duration_message(seconds: float) -> Duration:
    """Seconds, not negative, as a Duration, to the microsecond."""
    whole_s, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return Duration(seconds=whole_s, nanos=micros * 1000)


def timestamp_message(time: datetime | None) -> Timestamp | None:
    """An aware datetime as a Timestamp."""
    if time is None:
        return None
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def canvas_message(canvas: request.Canvas) -> image_pb2.Canvas:
    """The asked shape."""
    message = image_pb2.Canvas(resolution=enums.RESOLUTION.to_proto(canvas.resolution))
    if canvas.ratio is not None:
        message.ratio = str(canvas.ratio)
    elif canvas.format is not None:
        message.format = canvas.format
    return message


def image_message(image: generation.Image, link: Linker = no_link) -> image_pb2.Image:
    """A picture without its bytes, with the link to them."""
    there = link(image)
    return image_pb2.Image(
        id=image.id,
        mime_type=image.mime,
        width_px=image.width_px,
        height_px=image.height_px,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        model=image.model,
        model_version=image.served_version,
        output_index=image.output_index,
        provenance=image_pb2.Provenance(has_c2pa=image.has_c2pa),
        download_url=there.url if there else "",
        expire_time=timestamp_message(there.expire_time) if there else None,
    )


def plan_message(decision: plan.Plan) -> generation_pb2.Plan:
    """A routing decision."""
    return generation_pb2.Plan(
        row=str(decision.row),
        candidates=[_candidate(each) for each in decision.candidates],
        exclusions=[
            generation_pb2.Exclusion(model=each.model, reason=each.reason.value, text=each.text)
            for each in decision.exclusions
        ],
        fidelity=enums.FIDELITY.to_proto(decision.fidelity),
        policy_version=decision.policy_version,
        catalog_version=decision.catalog_version,
    )


def generation_message(
    record: generation.Generation, *, sandbox: bool, link: Linker = no_link
) -> generation_pb2.Generation:
    """A generation without its pictures' bytes; `sandbox` says whether simulated engines drew it."""
    prices = record.plan.catalog_version
    return generation_pb2.Generation(
        id=record.id,
        state=enums.STATE.to_proto(record.state),
        request=_echo(record),
        decision=plan_message(record.plan),
        outputs=[_output(each, link) for each in record.outputs],
        attempts=[_attempt(each, prices) for each in record.attempts],
        adaptations=[_adaptation(each) for each in record.adaptations],
        cost=cost_message(record.cost, prices),
        timings=_timings(record.timings),
        replayed=record.replayed,
        lineage=_lineage(record.request.lineage),
        labels=record.request.labels,
        caller=record.caller,
        create_time=timestamp_message(record.create_time),
        finish_time=timestamp_message(record.finish_time),
        reason=_reason_name(record.reason),
        text=record.text,
        sandbox=sandbox,
    )


def fill_event(
    message: generation_pb2.GenerationEvent,
    entry: events.LoggedEvent,
    *,
    sandbox: bool,
    link: Linker = no_link,
    omitted: bool = False,
    chunks_follow: bool = False,
) -> None:
    """Write an event of the log, without bytes, into a message: in place, since wrapping a message copies it.

    Args:
        message: an empty event.
        entry: the event.
        sandbox: whether simulated engines draw.
        link: where pictures can be fetched.
        omitted: of a preview: its bytes are not sent.
        chunks_follow: of an image: its bytes are sent.
    """
    stamp_event(message, entry.sequence, entry.time)
    match entry.event:
        case events.Accepted() as it:
            message.accepted.CopyFrom(_accepted(it))
        case events.Queued() as it:
            message.queued.CopyFrom(_queued(it))
        case events.AttemptStarted() as it:
            message.attempt_started.CopyFrom(_attempt_started(it))
        case events.AttemptFailed() as it:
            message.attempt_failed.CopyFrom(_attempt_failed(it))
        case events.PreviewReady() as it:
            message.preview.CopyFrom(_preview(it, omitted=omitted))
        case events.ImageReady() as it:
            ready = generation_pb2.ImageReady(image=image_message(it.image, link), chunks_follow=chunks_follow)
            message.image.CopyFrom(ready)
        case events.Completed() as it:
            message.completed.generation.CopyFrom(generation_message(it.generation, sandbox=sandbox, link=link))


def stamp_event(message: generation_pb2.GenerationEvent, sequence: int, time: datetime) -> None:
    """Write an event's place in the log and its time."""
    message.sequence = sequence
    message.event_time.FromDatetime(time)


def _candidate(candidate: plan.Candidate) -> generation_pb2.Candidate:
    return generation_pb2.Candidate(
        model=candidate.model,
        provider=candidate.provider,
        quality=candidate.quality.value if candidate.quality else "",
        ratio=str(candidate.ratio),
        resolution=enums.RESOLUTION.to_proto(candidate.resolution),
        width_px=candidate.size_px[0],
        height_px=candidate.size_px[1],
        output_format=enums.OUTPUT_FORMAT.to_proto(candidate.output_format),
        adaptations=[_adaptation(each) for each in candidate.adaptations],
        worst_case_cost=money_message(candidate.worst_case_nanos),
        expected_cost=money_message(candidate.expected_nanos),
        expected_p50=duration_message(candidate.expected_p50_s),
        expected_p90=duration_message(candidate.expected_p90_s),
        timeout=duration_message(candidate.timeout_s),
        preview_count=candidate.previews,
    )


def _adaptation(adaptation: plan.Adaptation) -> generation_pb2.Adaptation:
    return generation_pb2.Adaptation(
        kind=enums.ADAPTATION_KIND.to_proto(adaptation.kind), asked=adaptation.asked, delivered=adaptation.delivered
    )


def _echo(record: generation.Generation) -> generation_pb2.RequestEcho:
    asked = record.request
    return generation_pb2.RequestEcho(
        prompt=asked.prompt,
        operation=asked.operation.value,
        canvas=canvas_message(asked.canvas),
        tier=enums.TIER.to_proto(asked.tier),
        high_quality=asked.high_quality,
        workflow=enums.WORKFLOW.to_proto(asked.workflow),
        count=asked.count,
        model=asked.model or "",
        excluded_models=asked.excluded_models,
        quality=enums.QUALITY.to_proto(asked.quality),
        fidelity=enums.FIDELITY.to_proto(record.plan.fidelity),
        output_format=enums.OUTPUT_FORMAT.to_proto(asked.output_format),
        background=enums.BACKGROUND.to_proto(asked.background),
        seed=asked.seed,
        max_cost=None if asked.max_cost_nanos is None else money_message(asked.max_cost_nanos),
        request_id=asked.request_id or "",
        image_sha256=asked.image.sha256 if asked.image else "",
        mask_sha256=asked.mask.sha256 if asked.mask else "",
        reference_sha256s=[each.sha256 for each in asked.references],
    )


def _output(output: generation.Output, link: Linker) -> generation_pb2.Output:
    return generation_pb2.Output(
        index=output.index,
        state=enums.STATE.to_proto(output.state),
        image=None if output.image is None else image_message(output.image, link),
        reason=_reason_name(output.reason),
        text=output.text,
    )


def _attempt(attempt: generation.Attempt, prices: str) -> generation_pb2.Attempt:
    return generation_pb2.Attempt(
        id=attempt.id,
        output_index=attempt.output_index,
        index=attempt.index,
        provider=attempt.provider,
        model=attempt.model,
        quality=enums.QUALITY.to_proto(attempt.quality),
        served_model=attempt.served_model,
        model_version=attempt.served_version,
        provider_request_id=attempt.provider_request_id,
        outcome=attempt.outcome.value if attempt.outcome else "",
        detail=attempt.detail,
        cost=cost_message(attempt.cost, prices),
        usage=None if attempt.usage is None else _usage(attempt.usage),
        create_time=timestamp_message(attempt.create_time),
        sent_time=timestamp_message(attempt.sent_time),
        finish_time=timestamp_message(attempt.finish_time),
    )


def _usage(usage: money.Usage) -> generation_pb2.Usage:
    return generation_pb2.Usage(
        text_in_tokens=usage.text_in_tokens,
        image_in_tokens=usage.image_in_tokens,
        text_out_tokens=usage.text_out_tokens,
        image_out_tokens=usage.image_out_tokens,
    )


def _timings(timings: generation.Timings) -> generation_pb2.Timings:
    return generation_pb2.Timings(
        queue=duration_message(timings.queue_s),
        provider=duration_message(timings.provider_s),
        store=duration_message(timings.store_s),
        overhead=duration_message(timings.overhead_s),
    )


def _lineage(lineage: request.Lineage) -> generation_pb2.Lineage:
    return generation_pb2.Lineage(
        reroll_of=lineage.reroll_of or "", set_id=lineage.set_id or "", item_key=lineage.item_key or ""
    )


def _reason_name(reason: Reason | None) -> str:
    return reason.name if reason else ""


def _accepted(event: events.Accepted) -> generation_pb2.Accepted:
    return generation_pb2.Accepted(
        generation_id=event.generation_id,
        decision=plan_message(event.plan),
        estimated_cost=money_message(event.estimated_nanos),
    )


def _queued(event: events.Queued) -> generation_pb2.Queued:
    return generation_pb2.Queued(
        output_index=event.output_index,
        position=event.position,
        predicted_wait=duration_message(event.predicted_wait_s),
    )


def _attempt_started(event: events.AttemptStarted) -> generation_pb2.AttemptStarted:
    return generation_pb2.AttemptStarted(
        output_index=event.output_index,
        attempt_index=event.attempt_index,
        provider=event.provider,
        model=event.model,
        expected_p50=duration_message(event.expected_p50_s),
        expected_p90=duration_message(event.expected_p90_s),
        preview_count=event.previews,
    )


def _attempt_failed(event: events.AttemptFailed) -> generation_pb2.AttemptFailed:
    return generation_pb2.AttemptFailed(
        output_index=event.output_index,
        attempt_index=event.attempt_index,
        model=event.model,
        outcome=event.outcome.value,
        text=event.text,
        goes_on=event.goes_on,
    )


def _preview(event: events.PreviewReady, *, omitted: bool) -> generation_pb2.Preview:
    return generation_pb2.Preview(
        output_index=event.output_index,
        attempt_index=event.attempt_index,
        index=event.index,
        kind=enums.PREVIEW_KIND.to_proto(event.kind),
        mime_type=event.mime,
        size_bytes=event.size_bytes,
        omitted=omitted,
    )
