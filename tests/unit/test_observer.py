"""The observer alone: what becomes of attempts and generations, value by value."""

from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import samples
from pictord import telemetry
from pictord.domain.generation import Attempt, Output, State, Timings
from pictord.domain.money import Cost, CostBasis, Usage
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.domain.request import Lineage, Operation, Tier
from pictord.jobs.observer import JobObserver

GPT, NANO = "gpt-image-2", "gemini-3.1-flash-image"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class World:
    """An observer whose spans and metrics can be looked at."""

    def __init__(self, **backends: str) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self._metrics], shutdown_on_exit=False)
        self.observer = JobObserver(tracers.get_tracer("t"), meters.get_meter("t"), backends, lambda: NOW)

    def watch(self, ended: Attempt | None = None, *, is_fallback: bool = False, **changes) -> ReadableSpan:
        """The span of one attempt that ends as `ended`."""
        generation = samples.generation(request=samples.request(**changes))
        ended = ended or samples.attempt()
        candidate = samples.candidate(model=ended.model, provider=ended.provider)
        with self.observer.attempt(generation, candidate, ended, is_fallback=is_fallback) as observed:
            observed.ended(ended)
        return self._spans.get_finished_spans()[-1]

    def broken_span(self, error: BaseException) -> ReadableSpan:
        """The span of an attempt that a fault of our own ended."""
        attempt = samples.attempt()
        with (
            pytest.raises(type(error)),
            self.observer.attempt(samples.generation(), samples.candidate(), attempt, is_fallback=False),
        ):
            raise error
        return self._spans.get_finished_spans()[-1]

    def values(self, name: str) -> dict[tuple, float]:
        """What a metric says, by its attributes in alphabetical order; a histogram's sum."""
        data = self._metrics.get_metrics_data()
        return {
            tuple(value for _, value in sorted(point.attributes.items())): getattr(point, "value", None) or point.sum
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }


@pytest.fixture
def world():
    return World(openai="openai", gemini="developer")


def test_a_span_says_what_was_asked_and_served(world):
    """Everything an operator asks of one call, and nothing of its prompt."""
    usage = Usage(text_in_tokens=9, image_in_tokens=20, text_out_tokens=300, image_out_tokens=1756)
    ended = samples.attempt(
        outcome=Outcome.IMAGE,
        served_model="gpt-image-2-2026-04-21",
        served_version="2026-04-21",
        provider_request_id="req_1",
        usage=usage,
        cost=Cost(52_725_000),
    )

    span = world.watch(ended, tier=Tier.PRO, seed=7, operation=Operation.EDIT, lineage=Lineage(set_id="set_1"))

    assert span.name == "generate_content gpt-image-2"
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-2",
        "gen_ai.request.seed": 7,
        "gen_ai.response.id": "req_1",
        "gen_ai.response.model": "gpt-image-2-2026-04-21",
        "gen_ai.usage.image.input_tokens": 20,
        "gen_ai.usage.image.output_tokens": 1756,
        "gen_ai.usage.input_tokens": 29,
        "gen_ai.usage.output_tokens": 2056,
        "gen_ai.usage.text.input_tokens": 9,
        "gen_ai.usage.text.output_tokens": 300,
        "pictor.attempt.index": 0,
        "pictor.attempt.outcome": "image",
        "pictor.caller": "studio",
        "pictor.cost.basis": "reported",
        "pictor.cost.currency": "USD",
        "pictor.cost.nanos": 52_725_000,
        "pictor.generation.id": "gen_1",
        "pictor.model.version": "2026-04-21",
        "pictor.operation": "edit",
        "pictor.output.index": 0,
        "pictor.route.row": "standard",
        "pictor.set.id": "set_1",
        "pictor.tier": "pro",
    }


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.IMAGE])
def test_every_ending_without_a_picture_is_an_error_span(world, outcome):
    """The outcome is the error's type: the table's word, never the provider's."""
    span = world.watch(samples.attempt(outcome=outcome, detail="the provider's own words"))

    assert span.status.status_code.name == "ERROR"
    assert span.attributes[telemetry.ERROR_TYPE] == span.status.description == outcome.value
    assert "own words" not in span.to_json()


def test_a_fallback_says_why_and_a_retry_does_not(world):
    """Going to the next engine and trying the same one again are two things."""
    second = samples.attempt(index=1, after=Outcome.UNREACHABLE)

    fallback, retry = world.watch(second, is_fallback=True), world.watch(second)

    assert fallback.attributes[telemetry.FALLBACK_REASON] == "unreachable"
    assert telemetry.FALLBACK_REASON not in retry.attributes
    assert retry.attributes[telemetry.ATTEMPT_INDEX] == 1


@pytest.mark.parametrize(
    ("provider", "backend", "name"),
    [
        ("openai", "openai", "openai"),
        ("gemini", "developer", "gcp.gemini"),
        ("gemini", "vertex", "gcp.vertex_ai"),
        ("gemini", None, "gcp.gemini"),
        ("flux", "flux", "flux"),
    ],
)
def test_providers_have_the_conventions_names(provider, backend, name):
    """A new provider needs no change here."""
    assert telemetry.provider_name(provider, backend) == name


def test_a_vertex_account_shows_as_vertex():
    """Invoices of Google's two APIs are told apart."""
    world = World(gemini="vertex")

    span = world.watch(samples.attempt(provider="gemini", model=NANO))

    assert span.attributes[telemetry.GEN_AI_PROVIDER_NAME] == "gcp.vertex_ai"


def test_a_fault_of_our_own_leaves_its_type_and_an_unknown_cost(world):
    """The exception's text stays out of the span: it may hold anything."""
    span = world.broken_span(RuntimeError("a prompt"))

    assert (span.attributes[telemetry.ERROR_TYPE], span.events) == ("RuntimeError", ())
    assert "a prompt" not in span.to_json()
    assert world.values(telemetry.COST) == {("openai", GPT, "unknown"): pytest.approx(0.06)}
    assert world.values(telemetry.ATTEMPTS) == {("openai", GPT, "server_error"): 1}


@pytest.mark.parametrize(("nanos", "alarms"), [(60_000_000, {}), (60_000_001, {("openai", "overrun"): 1})])
def test_a_cost_above_its_hold_is_an_alarm(world, caplog, nanos, alarms):
    """One nano-dollar more than was held is told; all that was held is fine."""
    world.watch(samples.attempt(estimated_nanos=60_000_000, cost=Cost(nanos)))

    assert world.values(telemetry.ALARMS) == alarms
    assert world.values(telemetry.ALARM_TIME) == dict.fromkeys(alarms, NOW.timestamp())
    assert ("ALERT overrun" in caplog.text) == bool(alarms)


def test_costs_are_counted_by_how_sure_they_are(world):
    """Reported money and unknown money are never one number."""
    world.watch(samples.attempt(cost=Cost(50_000_000)))
    world.watch(samples.attempt(outcome=Outcome.SERVER_ERROR, cost=Cost(60_000_000, CostBasis.UNKNOWN)))
    world.watch(samples.attempt(outcome=Outcome.RATE_LIMITED, cost=Cost()))

    assert world.values(telemetry.COST) == {
        ("openai", GPT, "reported"): pytest.approx(0.05),
        ("openai", GPT, "unknown"): pytest.approx(0.06),
    }


def test_only_the_first_preview_is_timed(world):
    """How long somebody looks at nothing."""
    for index, since_s in enumerate((4.0, 9.0)):
        world.observer.preview(samples.attempt(), index, since_s)

    assert world.values(telemetry.TIME_TO_FIRST_PREVIEW) == {(GPT,): 4.0}


def test_fallbacks_are_counted_once_for_each_output(world):
    """A retry is none; two outputs that fall back are two."""
    attempts = (
        samples.attempt("a", model=GPT, outcome=Outcome.UNREACHABLE),
        samples.attempt("b", index=1, model=GPT, outcome=Outcome.UNREACHABLE, after=Outcome.UNREACHABLE),
        samples.attempt("c", index=2, model=NANO, after=Outcome.UNREACHABLE),
        samples.attempt("d", output_index=1, model=GPT, outcome=Outcome.OVERLOADED),
        samples.attempt("e", output_index=1, index=1, model=NANO, after=Outcome.OVERLOADED),
    )

    world.observer.finished(samples.generation(request=samples.request(count=2), attempts=attempts))

    assert world.values(telemetry.FALLBACKS) == {(NANO, GPT, "unreachable"): 1, (NANO, GPT, "overloaded"): 1}


def test_outputs_and_times_are_counted_at_the_end(world):
    """One of two pictures came: each output with its own ending."""
    outputs = (
        Output(0, State.SUCCEEDED, samples.image(model=NANO)),
        Output(1, State.FAILED, reason=Reason.CONTENT_POLICY),
    )
    world.observer.finished(
        samples.generation(
            outputs=outputs, finish_time=samples.NOON + timedelta(seconds=3), timings=Timings(1.0, 1.5, 0.25, 0.25)
        )
    )

    # attributes in alphabetical order: model, reason, row
    assert world.values(telemetry.OUTPUTS) == {(NANO, "ok", "standard"): 1, ("", "content_policy", "standard"): 1}
    assert world.values(telemetry.GENERATION_DURATION) == {("ok", "standard"): 3.0}
    assert world.values(telemetry.QUEUE_DURATION) == {("standard",): 1.0}
    assert world.values(telemetry.OVERHEAD_DURATION) == {("standard",): 0.25}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"outputs": (Output(0, State.SUCCEEDED, samples.image(model=NANO)),), "cost": Cost(68_143_500)},
            f"model={NANO} outcome=ok cost=$0.0681 seconds=1.234",
        ),
        (
            {"attempts": (samples.attempt(model=GPT),), "reason": Reason.CONTENT_POLICY},
            f"model={GPT} outcome=content_policy cost=$0.0000 seconds=1.234",
        ),
        ({"reason": Reason.CANCELLED}, "model= outcome=cancelled cost=$0.0000 seconds=1.234"),
    ],
    ids=["drawn", "refused", "never sent"],
)
def test_each_generation_is_one_line(world, caplog, changes, line):
    """Who asked, which row, who drew, what came of it, what it cost and how long it took."""
    caplog.set_level("INFO", "pictord")
    finish_time = samples.NOON + timedelta(seconds=1.2341)

    world.observer.finished(samples.generation(finish_time=finish_time, **changes))

    assert caplog.messages == [f"generation id=gen_1 caller=studio row=standard {line}"]
    assert caplog.records[0].fields["id"] == "gen_1"
