"""What jobs tell operators: one client span for each attempt, the metrics, one log line for each generation, alarms.

Prompts, pictures and the providers' own words never pass through here.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import Token
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from types import TracebackType
from typing import Protocol, Self

from opentelemetry.context import Context, attach, detach
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from pictord import telemetry
from pictord.domain.generation import Attempt, Generation, Image
from pictord.domain.money import Cost, CostBasis, format_usd
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Adaptation, Candidate
from pictord.errors import GatewayError
from pictord.jobs.tally import Tally

logger = logging.getLogger(__name__)

Attributes = dict[str, AttributeValue]

NOT_AS_PLANNED = "not_as_planned"
NOT_STORED = "not_stored"
OVER_CAP = "over_cap"
EXTRA_DROPPED = "extra_dropped"
OVERRUN = "overrun"


class ObservedAttempt:
    """A running attempt: its span, which is the current one inside the block; made by `JobObserver.attempt`."""

    __slots__ = ("_attempt", "_generation_id", "_observer", "_scope", "_span")

    def __init__(self, observer: "JobObserver", span: Span, generation_id: str, attempt: Attempt) -> None:
        self._observer = observer
        self._scope: Token[Context] | None = None
        self._span = span
        self._generation_id = generation_id
        self._attempt = attempt

    def __enter__(self) -> Self:
        self._scope = attach(set_span_in_context(self._span))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._broke(error)
        if self._scope is not None:
            detach(self._scope)
        self._span.end()

    def ended(self, attempt: Attempt) -> None:
        """Write the attempt's end to its span and the metrics; a cost above its hold is an alarm."""
        self._span.set_attributes(_end_attributes(attempt))
        if attempt.outcome is not Outcome.IMAGE:
            self._failed(str(attempt.outcome))
        self._observer.count_attempt(attempt)
        if attempt.cost.nanos > attempt.estimated_nanos:
            cost, held = format_usd(attempt.cost.nanos), format_usd(attempt.estimated_nanos)
            text = f"{attempt.model} cost {cost} for an output of {self._generation_id}, held were {held}"
            self._observer.alarm(OVERRUN, attempt.provider, text, attempt.model)

    def _broke(self, error: BaseException) -> None:
        """A fault of our own ended the attempt: it was sent, and what it costs is unknown."""
        self._failed(type(error).__name__)
        unknown = Cost(self._attempt.estimated_nanos, CostBasis.UNKNOWN)
        self._observer.count_attempt(replace(self._attempt, outcome=Outcome.SERVER_ERROR, cost=unknown))

    def _failed(self, error_type: str) -> None:
        self._span.set_attribute(telemetry.ERROR_TYPE, error_type)
        self._span.set_status(Status(StatusCode.ERROR, error_type))


class Listener(Protocol):
    """Hears what people should hear of; nothing it does may wait."""

    def alarmed(self, kind: str, provider: str, text: str, model: str | None = None) -> None:
        """Somebody raised an alarm, about one of the provider's models or all of it."""
        ...

    def finished(self, generation: Generation) -> None:
        """A generation has ended."""
        ...


class JobObserver:
    """Turns what happens to generations into spans, metrics, log lines and alarms.

    Args:
        tracer: where spans go.
        meter: where measurements go.
        backends: which API serves each configured provider.
        now: UTC.
    """

    def __init__(self, tracer: Tracer, meter: Meter, backends: Mapping[str, str], now: Callable[[], datetime]) -> None:
        self.listener: Listener | None = None
        self._tracer = tracer
        self._backends = backends
        self._now = now
        where = (telemetry.GEN_AI_PROVIDER_NAME, telemetry.GEN_AI_REQUEST_MODEL)
        self._cost = Tally(
            meter, telemetry.COST, "{USD}", "What attempts cost, by basis", (*where, telemetry.COST_BASIS)
        )
        self._attempts = Tally(
            meter, telemetry.ATTEMPTS, "{attempt}", "Calls to engines, by outcome", (*where, telemetry.ATTEMPT_OUTCOME)
        )
        self._fallbacks = meter.create_counter(telemetry.FALLBACKS, "{attempt}", "Attempts after another model failed")
        self._outputs = Tally(
            meter,
            telemetry.OUTPUTS,
            "{output}",
            "Outputs asked for, by how they ended",
            (telemetry.ROUTE_ROW, telemetry.REASON, telemetry.GEN_AI_REQUEST_MODEL),
        )
        self._alarms = meter.create_counter(telemetry.ALARMS, "{alarm}", "What a person should look at, by kind")
        # A counter that is born at 1 has not grown for Prometheus; the time of the last one tells each alarm.
        self._alarm_time = meter.create_gauge(telemetry.ALARM_TIME, "s", "When a kind was last raised, since 1970")
        self._duration = _seconds(meter, telemetry.GENERATION_DURATION, "Acceptance to end")
        self._queue = _seconds(meter, telemetry.QUEUE_DURATION, "Waiting for the limiter or a slot")
        self._provider = _seconds(meter, telemetry.PROVIDER_DURATION, "At the engine, per attempt")
        self._overhead = _seconds(meter, telemetry.OVERHEAD_DURATION, "The gateway's own part")
        self._first_preview = _seconds(meter, telemetry.TIME_TO_FIRST_PREVIEW, "Sent to first preview")

    def attempt(
        self, generation: Generation, candidate: Candidate, attempt: Attempt, *, is_fallback: bool
    ) -> ObservedAttempt:
        """Observe one attempt: its client span is a child of the RPC's span that submitted the generation."""
        attributes = _start_attributes(generation, candidate, attempt) | self._where(attempt)
        if is_fallback:
            attributes[telemetry.FALLBACK_REASON] = str(attempt.after)
        span = self._tracer.start_span(
            f"{telemetry.GEN_AI_OPERATION_GENERATE_CONTENT} {candidate.model}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )
        return ObservedAttempt(self, span, generation.id, attempt)

    def preview(self, attempt: Attempt, index: int, since_sent_s: float) -> None:
        """A preview arrived; the first one of an attempt is timed."""
        if index == 0:
            self._first_preview.record(since_sent_s, {telemetry.GEN_AI_REQUEST_MODEL: attempt.model})

    def count_attempt(self, attempt: Attempt) -> None:
        """Count an attempt's end, its cost and its time."""
        provider = self._name(attempt.provider)
        self._attempts.add(1, provider, attempt.model, str(attempt.outcome))
        if attempt.cost.nanos:
            self._cost.add(attempt.cost.nanos / 1e9, provider, attempt.model, attempt.cost.basis.value)
        if attempt.sent_time is not None and attempt.finish_time is not None:
            self._provider.record((attempt.finish_time - attempt.sent_time).total_seconds(), self._where(attempt))

    def over_cap(self, generation: Generation, attempt: Attempt, image: Image) -> None:
        """Raise the alarm for a picture larger than any engine should make; it is paid for, and kept."""
        size = f"{image.width_px}x{image.height_px} px in {image.size_bytes} bytes"
        text = f"{attempt.model} drew {size} for {generation.id}; kept, and too large"
        self.alarm(OVER_CAP, attempt.provider, text, attempt.model)

    def extra_dropped(self, generation: Generation, attempt: Attempt, count: int) -> None:
        """Raise the alarm for pictures beyond the one that was asked for: they are paid for, and nobody gets them."""
        text = f"{attempt.model} drew {count} more pictures for {generation.id}"
        self.alarm(EXTRA_DROPPED, attempt.provider, text, attempt.model)

    def not_as_planned(self, generation: Generation, attempt: Attempt, unplanned: Iterable[Adaptation]) -> None:
        """Raise the alarm for a picture that came otherwise than planned although the caller wanted it EXACT."""
        came = "; ".join(f"{each.kind.name} ({each.asked} → {each.delivered})" for each in unplanned)
        text = f"{attempt.model} drew {generation.id} otherwise: {came}"
        self.alarm(NOT_AS_PLANNED, attempt.provider, text, attempt.model)

    def not_stored(self, generation: Generation, attempt: Attempt, error: GatewayError) -> None:
        """Raise the alarm for a paid picture that lies in memory alone; it is tried again and again to store it."""
        text = f"a picture of {generation.id} is paid and cannot be stored; it is tried again until it is: {error.text}"
        self.alarm(NOT_STORED, attempt.provider, text)

    def alarm(self, kind: str, provider: str, text: str, model: str | None = None) -> None:
        """Say that a person should look, and tell the listener."""
        self.announce(kind, text, provider)
        if self.listener is not None:
            self.listener.alarmed(kind, provider, text, model)

    def announce(self, kind: str, text: str, provider: str | None) -> None:
        """Say in the log and in the metrics that a person should look."""
        where: Attributes = {telemetry.GEN_AI_PROVIDER_NAME: self._name(provider)} if provider else {}
        where[telemetry.ALARM_KIND] = kind
        self._alarms.add(1, where)
        self._alarm_time.set(self._now().timestamp(), where)
        logger.error("ALERT %s: %s", kind, text)

    def finished(self, generation: Generation) -> None:
        """Count a generation's end, and write its line to the log."""
        row: Attributes = {telemetry.ROUTE_ROW: generation.plan.row}
        for output in generation.outputs:
            reason = output.reason.value if output.reason else "ok"
            model = output.image.model if output.image else ""
            self._outputs.add(1, generation.plan.row, reason, model)
        self._count_fallbacks(generation)
        self._duration.record(_elapsed_s(generation), row | {telemetry.REASON: str(generation.reason or "ok")})
        self._queue.record(generation.timings.queue_s, row)
        self._overhead.record(generation.timings.overhead_s, row)
        if logger.isEnabledFor(logging.INFO):
            fields = _line(generation)
            words = " ".join(f"{key}={value}" for key, value in fields.items())
            logger.info("generation %s", words, extra={"fields": fields})
        if self.listener is not None:
            self.listener.finished(generation)

    def _count_fallbacks(self, generation: Generation) -> None:
        for output in generation.outputs:
            attempts = [attempt for attempt in generation.attempts if attempt.output_index == output.index]
            for failed, next_one in pairwise(attempts):
                if next_one.model != failed.model:
                    where: Attributes = {
                        telemetry.FALLBACK_FROM: failed.model,
                        telemetry.GEN_AI_REQUEST_MODEL: next_one.model,
                        telemetry.FALLBACK_REASON: str(failed.outcome),
                    }
                    self._fallbacks.add(1, where)

    def _where(self, attempt: Attempt) -> Attributes:
        return {
            telemetry.GEN_AI_PROVIDER_NAME: self._name(attempt.provider),
            telemetry.GEN_AI_REQUEST_MODEL: attempt.model,
        }

    def _name(self, provider: str) -> str:
        return telemetry.provider_name(provider, self._backends.get(provider))


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    buckets = telemetry.SECONDS_BUCKETS
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)


def _elapsed_s(generation: Generation) -> float:
    ended = generation.finish_time or generation.create_time
    return (ended - generation.create_time).total_seconds()


def _line(generation: Generation) -> dict[str, str | float]:
    """What the log says of a finished generation; the model is who drew it, or who was asked last."""
    models = [image.model for image in generation.images] or [attempt.model for attempt in generation.attempts][-1:]
    return {
        "id": generation.id,
        "caller": generation.caller,
        "row": generation.plan.row,
        "model": ",".join(dict.fromkeys(models)),
        "outcome": str(generation.reason or "ok"),
        "cost": format_usd(generation.cost.nanos),
        "seconds": round(_elapsed_s(generation), 3),
    }


def _start_attributes(generation: Generation, candidate: Candidate, attempt: Attempt) -> Attributes:
    request = generation.request
    attributes: Attributes = {
        telemetry.GEN_AI_OPERATION_NAME: telemetry.GEN_AI_OPERATION_GENERATE_CONTENT,
        telemetry.GEN_AI_OUTPUT_TYPE: telemetry.GEN_AI_OUTPUT_TYPE_IMAGE,
        telemetry.GENERATION_ID: generation.id,
        telemetry.CALLER: generation.caller,
        telemetry.OPERATION: request.operation.value,
        telemetry.TIER: request.tier.value,
        telemetry.ROUTE_ROW: generation.plan.row,
        telemetry.OUTPUT_INDEX: attempt.output_index,
        telemetry.ATTEMPT_INDEX: attempt.index,
    }
    if candidate.previews:
        attributes[telemetry.GEN_AI_REQUEST_STREAM] = True
    if request.seed is not None:
        attributes[telemetry.GEN_AI_REQUEST_SEED] = request.seed
    if request.lineage.set_id is not None:
        attributes[telemetry.SET_ID] = request.lineage.set_id
    return attributes


def _end_attributes(attempt: Attempt) -> Attributes:
    attributes: Attributes = {
        telemetry.ATTEMPT_OUTCOME: str(attempt.outcome),
        telemetry.COST_NANOS: attempt.cost.nanos,
        telemetry.COST_CURRENCY: "USD",
        telemetry.COST_BASIS: attempt.cost.basis.value,
    }
    known = {
        telemetry.GEN_AI_RESPONSE_ID: attempt.provider_request_id,
        telemetry.GEN_AI_RESPONSE_MODEL: attempt.served_model,
        telemetry.MODEL_VERSION: attempt.served_version,
    }
    attributes.update({name: value for name, value in known.items() if value})
    usage = attempt.usage
    if usage is not None:
        attributes[telemetry.GEN_AI_USAGE_INPUT_TOKENS] = usage.text_in_tokens + usage.image_in_tokens
        attributes[telemetry.GEN_AI_USAGE_OUTPUT_TOKENS] = usage.text_out_tokens + usage.image_out_tokens
        attributes[telemetry.GEN_AI_USAGE_IMAGE_INPUT_TOKENS] = usage.image_in_tokens
        attributes[telemetry.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS] = usage.image_out_tokens
        attributes[telemetry.GEN_AI_USAGE_TEXT_INPUT_TOKENS] = usage.text_in_tokens
        attributes[telemetry.GEN_AI_USAGE_TEXT_OUTPUT_TOKENS] = usage.text_out_tokens
    return attributes
