"""What leaves in telemetry: the span tree of each kind of call, the metrics, and never a prompt, a picture or a secret.

The trees are in `golden/`; `PICTOR_RECORD_GOLDEN=1 pytest tests/rpc/test_telemetry.py` writes them again.
"""

import asyncio
import base64
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import grpc
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway import GPT, NANO, Gateway, gateway, openai_account
from pictor.v1 import catalog_service_pb2 as catalog
from pictor.v1 import image_pb2, image_service_pb2
from pictor.v1 import usage_service_pb2 as budgets
from pictor.v1.history_service_pb2 import WatchGenerationRequest
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateSetRequest, GenerateStreamRequest
from pictord import app, configured, telemetry
from pictord.assets.objects import ObjectAssets
from pictord.providers.verification import verifier
from pictord.sandbox.faults import KINDS
from pictord.settings import OpenAIAccount, Quota

PRO = image_pb2.TIER_PRO
GOLDEN = Path(__file__).parent / "golden"
RECORDING = bool(os.environ.get("PICTOR_RECORD_GOLDEN"))

CALLER_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"
TRACED = (("traceparent", f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"),)


class Spans(InMemorySpanExporter):
    """Every span that ended, and a way to wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self._changed.set()
        return result

    def of_the_caller(self) -> list[ReadableSpan]:
        """The spans of the trace that the caller began."""
        return [span for span in self.get_finished_spans() if f"{span.context.trace_id:032x}" == CALLER_TRACE]

    async def wait_for(self, count: int) -> list[ReadableSpan]:
        """The caller's trace, once it has this many spans."""
        while len(self.of_the_caller()) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.of_the_caller()


@pytest.fixture
async def spans() -> Spans:
    return Spans()


@pytest.fixture
def metrics() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
async def pictor(spans, metrics):
    outside = app.Outside(span_exporter=spans, metric_reader=metrics)
    async with gateway(outside=outside, admin_listen="127.0.0.1:0") as running:
        yield running


# Span trees

_IDS = re.compile(r"\b(gen|set|att|img|req)_[0-9A-Za-z]+")


def tree(spans: Sequence[ReadableSpan]) -> dict:
    """The caller's trace as one tree, siblings in the order of their text, without anything that changes."""
    roots = [span for span in spans if span.parent is None or f"{span.parent.span_id:016x}" == CALLER_SPAN]
    assert len(roots) == 1, [span.name for span in roots]
    return branch(roots[0], spans)


def branch(span: ReadableSpan, spans: Sequence[ReadableSpan]) -> dict:
    below = [each for each in spans if each.parent is not None and each.parent.span_id == span.context.span_id]
    return {
        "name": span.name,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "description": span.status.description,
        "attributes": {name: stable(name, value) for name, value in sorted((span.attributes or {}).items())},
        "events": [event.name for event in span.events],
        "children": sorted((branch(each, spans) for each in below), key=json.dumps),
    }


def stable(name: str, value: object) -> object:
    if name == telemetry.GEN_AI_RESPONSE_ID:
        return "<id>"
    return _IDS.sub(r"<\1>", value) if isinstance(value, str) else value


def matches_golden(name: str, found: dict) -> bool:
    path = GOLDEN / f"{name}.json"
    if RECORDING:
        path.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(path.read_text())
    return True


def fault(text: str) -> tuple[tuple[str, str], ...]:
    return (*TRACED, ("x-sandbox-fault", text))


async def generate(pictor: Gateway, *, metadata=TRACED, **fields) -> None:
    """One call; failures are telemetry's business here."""
    try:
        await pictor.images.Generate(GenerateRequest(**({"prompt": "a red fox"} | fields)), metadata=metadata)
    except grpc.aio.AioRpcError:
        return


async def test_tree_of_a_standard_picture(pictor, spans):
    """One RPC, one call to Nano Banana 2, with model, version, tokens and cost."""
    await generate(pictor)

    assert matches_golden("standard", tree(await spans.wait_for(2)))


async def test_tree_of_a_pro_stream_with_previews(pictor, spans):
    """The streamed call is one client span, marked as a stream."""
    request = GenerateStreamRequest(request=GenerateRequest(prompt="a red fox", tier=PRO))

    [_ async for _ in pictor.images.GenerateStream(request, metadata=TRACED)]

    assert matches_golden("pro_stream", tree(await spans.wait_for(2)))


async def test_tree_of_a_failover(pictor, spans):
    """Two sibling calls, the second with the reason of the fallback; the RPC is fine."""
    await generate(pictor, metadata=fault("gemini:rate_limit"))

    assert matches_golden("failover", tree(await spans.wait_for(3)))


async def test_tree_of_a_retry_on_the_same_engine(spans):
    """A second try of an engine that cannot be reached is no fallback; the other engine then is."""
    nobody = OpenAIAccount("k", base_url="http://127.0.0.1:9/v1")
    async with gateway(real=True, outside=app.Outside(span_exporter=spans), openai=nobody) as pictor:
        await generate(pictor, tier=PRO)

    assert matches_golden("retry", tree(await spans.wait_for(4)))


async def test_tree_of_a_refusal(pictor, spans):
    """The engine's refusal ends the call; no second engine is asked."""
    await generate(pictor, metadata=fault("gemini:finish_reason;reason=IMAGE_SAFETY"))

    assert matches_golden("refusal", tree(await spans.wait_for(2)))


async def test_tree_of_a_validation_error(pictor, spans):
    """Bad input is an RPC span with a reason and nothing below it; the server is not to blame."""
    await generate(pictor, prompt="")

    assert matches_golden("validation", tree(await spans.wait_for(1)))


async def test_tree_of_a_set(pictor, spans):
    """The calls of all members hang below the set's RPC."""
    items = [image_service_pb2.SetItem(key=key, prompt=f"a {key} fox") for key in ("red", "blue")]
    request = GenerateSetRequest(brief=GenerateRequest(prompt="a fox"), items=items)

    [_ async for _ in pictor.images.GenerateSet(request, metadata=TRACED)]

    assert matches_golden("set", tree(await spans.wait_for(3)))


async def test_tree_of_a_cancelled_call(pictor, spans):
    """The client is gone and the RPC cancelled; the call that was sent ends well below it, and later."""
    pictor.sandbox.faults.add("stall", times=1)
    request = GenerateStreamRequest(request=GenerateRequest(prompt="a red fox"))
    call = pictor.images.GenerateStream(request, metadata=TRACED)
    generation_id = dict(await call.initial_metadata())["pictor-generation-id"]
    await pictor.sandbox.wait_for_stalls(1)
    call.cancel()
    await spans.wait_for(1)
    pictor.sandbox.release_stalls()
    watch = pictor.history.WatchGeneration(WatchGenerationRequest(generation_id=generation_id))
    [_ async for _ in watch]

    assert matches_golden("cancel", tree(await spans.wait_for(2)))


async def test_a_call_without_a_trace_begins_one(pictor, spans):
    """Callers need no tracing of their own."""
    await generate(pictor, metadata=())

    trees = spans.get_finished_spans()
    assert {span.parent is None for span in trees if span.kind.name == "SERVER"} == {True}
    assert len({span.context.trace_id for span in trees}) == 1


async def test_baggage_of_the_caller_goes_nowhere(pictor, spans):
    """What a caller tells its own services is not for providers, nor for our spans."""
    await generate(pictor, metadata=(*TRACED, ("baggage", "user=canary")))

    assert "canary" not in "".join(span.to_json() for span in await spans.wait_for(2))
    assert not {"baggage", "traceparent"} & set(pictor.sandbox.requests[0].headers)


# Metrics


def points(metrics: InMemoryMetricReader, name: str) -> list:
    """All data points of a metric."""
    data = metrics.get_metrics_data()
    found = [
        metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    ]
    return [point for metric in found for point in metric.data.data_points]


def counted(metrics: InMemoryMetricReader, name: str, *attributes: str) -> dict[tuple, float]:
    """A counter's values, by some of its attributes."""
    return {tuple(point.attributes[key] for key in attributes): point.value for point in points(metrics, name)}


WHERE = {telemetry.GEN_AI_PROVIDER_NAME, telemetry.GEN_AI_REQUEST_MODEL}
ATTRIBUTES = {
    telemetry.COST: WHERE | {telemetry.COST_BASIS},
    telemetry.ATTEMPTS: WHERE | {telemetry.ATTEMPT_OUTCOME},
    telemetry.FALLBACKS: {telemetry.FALLBACK_FROM, telemetry.GEN_AI_REQUEST_MODEL, telemetry.FALLBACK_REASON},
    telemetry.OUTPUTS: {telemetry.ROUTE_ROW, telemetry.REASON, telemetry.GEN_AI_REQUEST_MODEL},
    telemetry.ALARMS: {telemetry.ALARM_KIND, telemetry.GEN_AI_PROVIDER_NAME},
    telemetry.ALARM_TIME: {telemetry.ALARM_KIND, telemetry.GEN_AI_PROVIDER_NAME},
    telemetry.GENERATION_DURATION: {telemetry.ROUTE_ROW, telemetry.REASON},
    telemetry.QUEUE_DURATION: {telemetry.ROUTE_ROW},
    telemetry.OVERHEAD_DURATION: {telemetry.ROUTE_ROW},
    telemetry.PROVIDER_DURATION: WHERE,
    telemetry.TIME_TO_FIRST_PREVIEW: {telemetry.GEN_AI_REQUEST_MODEL},
    telemetry.BREAKER_STATE: WHERE | {telemetry.OPERATION},
    telemetry.PROVIDER_OBSTACLE: {telemetry.GEN_AI_PROVIDER_NAME, telemetry.OBSTACLE},
    telemetry.BUDGET_USED: {telemetry.BUDGET_ID},
    telemetry.RATE_LIMIT_WAIT: {telemetry.GEN_AI_PROVIDER_NAME},
    telemetry.QUEUE_WAITING: {telemetry.GEN_AI_PROVIDER_NAME},
    telemetry.IN_FLIGHT: {telemetry.GEN_AI_PROVIDER_NAME},
    telemetry.RPC_SERVER_CALL_DURATION: {
        telemetry.RPC_SYSTEM_NAME,
        telemetry.RPC_METHOD,
        telemetry.RPC_STATUS_CODE,
        telemetry.ERROR_TYPE,
    },
}
"""Every metric with all attributes it may have: none of them is a caller's, a generation's or a prompt's."""


async def one_of_each(pictor: Gateway) -> None:
    """A budget, a success, a fallback, a refusal, a bad request, previews, and an account without credit."""
    await set_budget(pictor, id="hundred", pictures=100, counted=budgets.Budget.COUNTED_GLOBAL)
    await generate(pictor)
    await generate(pictor, metadata=fault("gemini:unavailable"))
    await generate(pictor, metadata=fault("gemini:finish_reason;reason=IMAGE_SAFETY"))
    await generate(pictor, prompt="")
    request = GenerateStreamRequest(request=GenerateRequest(prompt="a red fox", tier=PRO))
    [_ async for _ in pictor.images.GenerateStream(request)]
    await generate(pictor, tier=PRO, metadata=fault("openai:insufficient_quota"))


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_each_metric_exists_with_few_attributes(pictor, metrics, name):
    """What is counted can be summed; nothing that grows with traffic is an attribute."""
    await one_of_each(pictor)

    found = points(metrics, name)

    assert found
    assert set().union(*(point.attributes for point in found)) <= ATTRIBUTES[name]


async def test_no_metric_is_unknown_to_the_table(pictor, metrics):
    """A new metric is added to the table above, so that somebody thinks of its attributes."""
    await one_of_each(pictor)

    data = metrics.get_metrics_data()

    names = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert names == set(ATTRIBUTES)


async def test_the_cost_metric_is_the_invoice(pictor, metrics):
    """To the nano-dollar what the engines charged, over successes, fallbacks and billed refusals."""
    await one_of_each(pictor)

    cost = counted(metrics, telemetry.COST, telemetry.GEN_AI_REQUEST_MODEL, telemetry.COST_BASIS)

    assert {basis for _, basis in cost} == {"reported"}
    assert round(sum(cost.values()) * 1e9) == pictor.charged_nanos() > 0


async def test_a_lost_answer_costs_its_estimate_as_unknown(pictor, metrics):
    """Unknown is never zero, in the metric neither."""
    await generate(pictor, metadata=fault("gemini:reset_before_response"))

    cost = counted(metrics, telemetry.COST, telemetry.GEN_AI_REQUEST_MODEL, telemetry.COST_BASIS)

    assert cost[NANO, "unknown"] > 0
    assert round(cost[GPT, "reported"] * 1e9) == sum(c.nanos for c in pictor.sandbox.charges if c.provider == "openai")


async def test_attempts_fallbacks_and_outputs_are_counted(pictor, metrics):
    """One failover: two attempts, one fallback, one output."""
    await generate(pictor, metadata=fault("gemini:unavailable"))

    attempts = counted(metrics, telemetry.ATTEMPTS, telemetry.GEN_AI_REQUEST_MODEL, telemetry.ATTEMPT_OUTCOME)
    fallbacks = counted(metrics, telemetry.FALLBACKS, *sorted(ATTRIBUTES[telemetry.FALLBACKS]))
    outputs = counted(metrics, telemetry.OUTPUTS, telemetry.ROUTE_ROW, telemetry.REASON, telemetry.GEN_AI_REQUEST_MODEL)
    assert attempts == {(NANO, "overloaded"): 1, (GPT, "image"): 1}
    assert fallbacks == {(GPT, NANO, "overloaded"): 1}
    assert outputs == {("standard", "ok", GPT): 1}


async def test_an_open_breaker_shows_as_two(pictor, metrics):
    """The gauge is what an alert is built on: 0 closed, 1 half open, 2 open."""
    for _ in range(5):
        await generate(pictor, model=NANO, metadata=fault("gemini:unavailable"))

    state = counted(metrics, telemetry.BREAKER_STATE, telemetry.GEN_AI_REQUEST_MODEL, telemetry.OPERATION)
    assert state[NANO, "generate"] == 2


async def test_a_freeze_shows_as_a_wait(pictor, metrics):
    """After a 429 the wait that the provider asked for can be seen."""
    await generate(pictor, metadata=fault("gemini:rate_limit;retry_delay=20s"))

    wait = counted(metrics, telemetry.RATE_LIMIT_WAIT, telemetry.GEN_AI_PROVIDER_NAME)
    assert 0 < wait["gcp.gemini",] <= 20
    assert wait["openai",] == 0


async def test_a_quota_shows_what_is_left(metrics):
    """The limiter's level is there exactly for accounts with a quota."""
    quota = Quota(images_per_minute=100.0)
    outside = app.Outside(metric_reader=metrics)
    async with gateway(real=True, outside=outside, openai=lambda engines: openai_account(engines, quota=quota)):
        available = counted(metrics, telemetry.RATE_LIMIT_AVAILABLE, telemetry.GEN_AI_PROVIDER_NAME)

    assert list(available) == [("openai",)]
    assert available["openai",] >= 1


@pytest.mark.parametrize(("reason", "asked"), [("unfunded", "insufficient_quota"), ("key_refused", "invalid_api_key")])
async def test_a_switched_off_provider_shows_why(pictor, metrics, reason, asked):
    """Each reason is 0 until it holds, so that an alert ends when its cause does."""
    before = obstacles(metrics)
    await generate(pictor, tier=PRO, metadata=fault(f"openai:{asked}"))

    assert set(before.values()) == {0}
    assert {each for each, value in obstacles(metrics).items() if value} == {("openai", reason)}


async def test_a_provider_without_a_key_and_a_disabled_one_show_so(metrics):
    """Both are obstacles."""
    outside = app.Outside(metric_reader=metrics)
    async with gateway(real=True, outside=outside, openai=None) as pictor:
        disabled = catalog.PROVIDER_STATE_DISABLED
        await pictor.catalog.SetProviderState(
            catalog.SetProviderStateRequest(provider="gemini", state=disabled, reason="quota review")
        )

        there = {each for each, value in obstacles(metrics).items() if value}

    assert there == {("openai", "not_configured"), ("gcp.gemini", "disabled")}


def obstacles(metrics: InMemoryMetricReader) -> dict[tuple, float]:
    return counted(metrics, telemetry.PROVIDER_OBSTACLE, telemetry.GEN_AI_PROVIDER_NAME, telemetry.OBSTACLE)


async def test_the_share_of_each_budget_shows(metrics):
    """After each look; a budget for each of them would be as many as there are."""
    outside = app.Outside(metric_reader=metrics)
    async with gateway(outside=outside) as pictor:
        await set_budget(pictor, id="four", pictures=4, counted=budgets.Budget.COUNTED_GLOBAL)
        await set_budget(pictor, id="each", pictures=4, counted=budgets.Budget.COUNTED_CALLER, key="*")
        await generate(pictor)
        await pictor.app.alerts.look()

        assert counted(metrics, telemetry.BUDGET_USED, telemetry.BUDGET_ID) == {("four",): 0.25}


async def set_budget(pictor: Gateway, **fields) -> None:
    budget = budgets.Budget(window=budgets.Budget.WINDOW_DAY, **fields)
    await pictor.usage.SetBudget(budgets.SetBudgetRequest(budget=budget))


async def test_prometheus_names_are_sensible(pictor):
    """What /metrics shows is what dashboards and alerts are written with."""
    await one_of_each(pictor)

    page = await metrics_page(pictor)

    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    ours = {name: kind for name, kind in types.items() if name.startswith(("pictor_", "rpc_"))}
    assert ours == {
        "pictor_cost_total": "counter",
        "pictor_attempts_total": "counter",
        "pictor_fallbacks_total": "counter",
        "pictor_outputs_total": "counter",
        "pictor_alarms_total": "counter",
        "pictor_alarm_time_seconds": "gauge",
        "pictor_generation_duration_seconds": "histogram",
        "pictor_queue_duration_seconds": "histogram",
        "pictor_provider_duration_seconds": "histogram",
        "pictor_overhead_duration_seconds": "histogram",
        "pictor_time_to_first_preview_seconds": "histogram",
        "pictor_breaker_state": "gauge",
        "pictor_provider_obstacle": "gauge",
        "pictor_budget_used": "gauge",
        "pictor_ratelimit_predicted_wait_seconds": "gauge",
        "pictor_queue_waiting": "gauge",
        "pictor_inflight": "gauge",
        "rpc_server_call_duration_seconds": "histogram",
    }


async def metrics_page(pictor: Gateway) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"http://{pictor.app.admin_address}/metrics") as answer:
        return await answer.text()


# Alarms and the log


def alarms(metrics: InMemoryMetricReader) -> dict[tuple, float]:
    return counted(metrics, telemetry.ALARMS, telemetry.ALARM_KIND, telemetry.GEN_AI_PROVIDER_NAME)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("unfunded", "openai:insufficient_quota"),
        ("key_refused", "openai:invalid_api_key"),
        ("model_tripped", "openai:model_not_found"),
    ],
)
async def test_what_a_person_must_fix_is_an_alarm(pictor, metrics, caplog, kind, asked):
    """One line that begins with ALERT and one count, however many calls find out."""
    for _ in range(2):
        await generate(pictor, tier=PRO, metadata=fault(asked))

    assert alarms(metrics) == {(kind, "openai"): 1}
    assert [record.getMessage().split(":")[0] for record in caplog.records if "ALERT" in record.message] == [
        f"ALERT {kind}"
    ]


async def test_a_picture_over_the_cap_is_kept_and_alarmed(spans, metrics, caplog, monkeypatch):
    """It is paid for, so the caller gets it; somebody should look why it is so large."""
    monkeypatch.setattr(configured, "verifier", lambda *looks: verifier(*looks, max_bytes=100))
    async with gateway(outside=app.Outside(span_exporter=spans, metric_reader=metrics)) as pictor:
        answer = await pictor.images.Generate(GenerateRequest(prompt="a huge fox"))

    assert answer.generation.outputs[0].image.data
    assert alarms(metrics) == {("over_cap", "gcp.gemini"): 1}
    assert f"ALERT over_cap: {NANO} drew 1024x1024 px" in caplog.text


async def test_pictures_that_nobody_asked_for_are_alarmed(pictor, metrics, caplog):
    """They are paid for and dropped; somebody should ask why the engine draws them."""
    await generate(pictor, metadata=fault("several_images;count=3"))

    assert ("extra_dropped", "gcp.gemini") in alarms(metrics)
    assert f"ALERT extra_dropped: {NANO} drew 2 more pictures for gen_" in caplog.text


async def test_a_cost_above_its_hold_is_alarmed(spans, metrics, caplog, tmp_path):
    """An estimate that is too low would let caps be broken: it is told, and the whole cost is posted."""
    (tmp_path / "models.toml").write_text("[models.gpt-image-2.tokens.image_out]\ndivisor = 40_000_000\n")
    async with gateway(outside=app.Outside(metric_reader=metrics), overlay=tmp_path) as pictor:
        await generate(pictor, model=GPT)
        charged = pictor.charged_nanos()
        cost = sum(counted(metrics, telemetry.COST, telemetry.GEN_AI_REQUEST_MODEL).values())

    assert round(cost * 1e9) == charged
    assert alarms(metrics) == {("overrun", "openai"): 1}
    assert "ALERT overrun: gpt-image-2 cost $" in caplog.text


async def test_each_generation_is_one_line_in_the_log(pictor, caplog):
    """Id, caller, row, model, outcome, cost and seconds: what one greps for first."""
    caplog.set_level(logging.INFO, "pictord")
    await generate(pictor)
    await generate(pictor, metadata=fault("gemini:finish_reason;reason=IMAGE_SAFETY"))

    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("generation ")]
    shape = r"generation id=gen_\w+ caller=local row=standard model={} outcome={} cost=\$\d\.\d{{4}} seconds=\d+\.\d+"
    assert len(lines) == 2
    assert re.fullmatch(shape.format(NANO, "ok"), lines[0])
    assert re.fullmatch(shape.format(NANO, "content_policy"), lines[1])


async def test_a_fault_of_our_own_is_a_failed_span_without_its_text(pictor, spans, metrics, monkeypatch):
    """The exception is in the log; the span has its type, and the cost counts as unknown."""

    async def broken(*_: object) -> str:
        raise RuntimeError("canary of a fault")

    monkeypatch.setattr(ObjectAssets, "put", broken)
    await generate(pictor)

    call = next(span for span in await spans.wait_for(2) if span.kind.name == "CLIENT")
    assert (call.attributes[telemetry.ERROR_TYPE], call.status.status_code.name) == ("RuntimeError", "ERROR")
    assert "canary" not in "".join(span.to_json() for span in spans.get_finished_spans())
    assert counted(metrics, telemetry.COST, telemetry.COST_BASIS).keys() == {("unknown",)}


# Nothing leaves that must not

PROMPT = "canary-prompt-uilo of a red fox"
END_USER = "canary-user-uilo"
LABEL = "canary-label-uilo"


STALLING = {"stall", "stall_mid_body"}
FAULTS = [(provider, kind) for provider, kinds in KINDS.items() for kind in kinds if kind not in STALLING]


async def test_prompts_pictures_and_secrets_leave_in_nothing(spans, metrics, caplog):
    """Over a success and every fault that either engine knows: not in a span, a metric or a log line."""
    caplog.set_level(logging.DEBUG, "pictord")
    outside = app.Outside(span_exporter=spans, metric_reader=metrics)
    settings = {"admin_listen": "127.0.0.1:0", "daily_cap_nanos": 10**15}
    async with gateway(real=True, outside=outside, **settings) as pictor:
        models = {"openai": GPT, "gemini": NANO}
        pictures = [await canary(pictor, models["openai"]), await canary(pictor, models["gemini"])]
        for provider, kind in FAULTS:
            pictor.sandbox.faults.add(
                kind, provider=provider, times=1, args={"message": f"bad: {PROMPT}", "after_ms": 0}
            )
            pictor.app.guards.enable(provider)
            await canary(pictor, models[provider])
        left = {
            "spans": "".join(span.to_json() for span in spans.get_finished_spans()),
            "metrics": metrics.get_metrics_data().to_json() + await metrics_page(pictor),
            "log": "\n".join(caplog.handler.format(record) for record in caplog.records),
        }
        sent = len(pictor.sandbox.requests)

    assert sent >= len(FAULTS)
    for name, text in left.items():
        for canary_text in ("uilo", "red fox", *(fragment(picture) for picture in pictures if picture)):
            assert canary_text not in text, (name, canary_text)


async def canary(pictor: Gateway, model: str) -> bytes:
    """A call full of things that must not leave; the picture, if there is one."""
    request = GenerateRequest(
        prompt=PROMPT, model=model, end_user=END_USER, labels={"note": LABEL}, request_id="", count=1
    )
    try:
        return (await pictor.images.Generate(request)).generation.outputs[0].image.data
    except grpc.aio.AioRpcError:
        return b""


def fragment(picture: bytes) -> str:
    """A piece of the picture as it would look in JSON."""
    return base64.b64encode(picture[:60]).decode()[:40]
