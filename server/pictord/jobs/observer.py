"""What jobs tell telemetry: one client span for each attempt, and the counters of outputs, attempts, cost and time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from pictord import telemetry
from pictord.domain.generation import Attempt, Generation
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Candidate

PROVIDER_NAMES = {"openai": "openai", "gemini": "gcp.gemini"}
"""The conventions' words for our providers (docs/gen-ai/gen-ai-spans.md)."""


@dataclass(frozen=True, slots=True)
class ObservedAttempt:
    """The span of a running attempt."""

    _observer: "JobObserver"
    _span: Span

    def ended(self, attempt: Attempt) -> None:
        """Write the attempt's end to its span and the counters."""
        self._span.set_attributes(_end_attributes(attempt))
        if attempt.outcome is not Outcome.IMAGE:
            self._span.set_attribute(telemetry.ERROR_TYPE, str(attempt.outcome))
            self._span.set_status(Status(StatusCode.ERROR, str(attempt.outcome)))
        self._observer.count_attempt(attempt)


class JobObserver:
    """Turns what happens to generations into spans and metrics; prompts and pictures never pass through here."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._cost = meter.create_counter(telemetry.COST, "{USD}", "What attempts cost, by basis")
        self._attempts = meter.create_counter(telemetry.ATTEMPTS, "{attempt}", "Calls to engines, by outcome")
        self._fallbacks = meter.create_counter(telemetry.FALLBACKS, "{attempt}", "Attempts after a failed one")
        self._outputs = meter.create_counter(telemetry.OUTPUTS, "{output}", "Outputs asked for, by how they ended")
        self._duration = _seconds(meter, telemetry.GENERATION_DURATION, "Acceptance to end")
        self._queue = _seconds(meter, telemetry.QUEUE_DURATION, "Waiting for the limiter or a slot")
        self._provider = _seconds(meter, telemetry.PROVIDER_DURATION, "At the engine, per attempt")
        self._overhead = _seconds(meter, telemetry.OVERHEAD_DURATION, "The gateway's own part")
        self._first_preview = _seconds(meter, telemetry.TIME_TO_FIRST_PREVIEW, "Sent to first preview")

    @contextmanager
    def attempt(self, generation: Generation, candidate: Candidate, attempt: Attempt) -> Iterator[ObservedAttempt]:
        """The client span of one attempt, a child of the RPC's span that submitted the generation."""
        name = f"{telemetry.GEN_AI_OPERATION_GENERATE_CONTENT} {candidate.model}"
        attributes = _start_attributes(generation, candidate, attempt)
        with self._tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
            yield ObservedAttempt(self, span)

    def preview(self, attempt: Attempt, index: int, since_sent_s: float) -> None:
        """A preview arrived; the first one of an attempt is timed."""
        if index == 0:
            self._first_preview.record(since_sent_s, {telemetry.GEN_AI_REQUEST_MODEL: attempt.model})

    def count_attempt(self, attempt: Attempt) -> None:
        """Count an attempt's end, its cost and its time."""
        where: dict[str, AttributeValue] = {
            telemetry.GEN_AI_PROVIDER_NAME: PROVIDER_NAMES[attempt.provider],
            telemetry.GEN_AI_REQUEST_MODEL: attempt.model,
        }
        self._attempts.add(1, where | {telemetry.ATTEMPT_OUTCOME: str(attempt.outcome)})
        if attempt.cost.nanos:
            self._cost.add(attempt.cost.nanos / 1e9, where | {telemetry.COST_BASIS: attempt.cost.basis.value})
        if attempt.sent_time is not None and attempt.finish_time is not None:
            self._provider.record((attempt.finish_time - attempt.sent_time).total_seconds(), where)

    def finished(self, generation: Generation) -> None:
        """Count a generation's end."""
        row: dict[str, AttributeValue] = {telemetry.ROUTE_ROW: generation.plan.row}
        for output in generation.outputs:
            reason = output.reason.value if output.reason else "ok"
            model = output.image.model if output.image else ""
            self._outputs.add(1, row | {telemetry.REASON: reason, telemetry.GEN_AI_REQUEST_MODEL: model})
        for attempt in generation.attempts:
            if attempt.index > 0:
                reason = str(attempt.after)
                self._fallbacks.add(
                    1, {telemetry.GEN_AI_REQUEST_MODEL: attempt.model, telemetry.FALLBACK_REASON: reason}
                )
        if generation.finish_time is not None:
            elapsed = (generation.finish_time - generation.create_time).total_seconds()
            self._duration.record(elapsed, row | {telemetry.REASON: str(generation.reason or "ok")})
        self._queue.record(generation.timings.queue_s, row)
        self._overhead.record(generation.timings.overhead_s, row)


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    buckets = telemetry.SECONDS_BUCKETS
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)


def _start_attributes(generation: Generation, candidate: Candidate, attempt: Attempt) -> dict[str, AttributeValue]:
    request = generation.request
    attributes: dict[str, AttributeValue] = {
        telemetry.GEN_AI_OPERATION_NAME: telemetry.GEN_AI_OPERATION_GENERATE_CONTENT,
        telemetry.GEN_AI_PROVIDER_NAME: PROVIDER_NAMES[candidate.provider],
        telemetry.GEN_AI_OUTPUT_TYPE: telemetry.GEN_AI_OUTPUT_TYPE_IMAGE,
        telemetry.GEN_AI_REQUEST_MODEL: candidate.model,
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
    if attempt.index > 0:
        attributes[telemetry.FALLBACK_REASON] = str(attempt.after)
    return attributes


def _end_attributes(attempt: Attempt) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
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
