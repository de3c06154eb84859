"""Alerts through the door: listed page by page, and told to a webhook, while jobs go on."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway import GPT, Gateway, gateway
from idle import Idle
from pictor.v1 import image_pb2 as image
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord import app, telemetry
from pictord.settings import AlertsTable

Alert = usage.Alert
NEWER = Path(__file__).parents[1] / "unit/test_catalog_newer"
ONE_PICTURE = usage.Budget(
    id="one", counted=usage.Budget.COUNTED_GLOBAL, pictures=1, window=usage.Budget.WINDOW_DAY, soft=True
)


@pytest.fixture
async def heard() -> AsyncIterator[tuple[str, asyncio.Queue]]:
    """A webhook's address, and what it is told."""
    told: asyncio.Queue = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        told.put_nowait(json.loads(await request.read()))
        return web.Response()

    application = web.Application()
    application.router.add_post("/hook", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", told
    await runner.cleanup()


async def listed(pictor: Gateway, **fields) -> usage.ListAlertsResponse:
    return await pictor.usage.ListAlerts(usage.ListAlertsRequest(**fields))


async def exhaust(pictor: Gateway) -> None:
    await pictor.usage.SetBudget(usage.SetBudgetRequest(budget=ONE_PICTURE))
    await pictor.images.Generate(GenerateRequest(prompt="a fox"))
    await pictor.app.alerts.look()


async def test_the_thresholds_of_a_budget_are_listed_in_pages():
    """Newest first; no webhook is no delivery."""
    async with gateway() as pictor:
        await exhaust(pictor)

        first = await listed(pictor, page_size=2)
        second = await listed(pictor, page_size=2, page_token=first.next_page_token)

    alerts = [*first.alerts, *second.alerts]
    assert ["100 %" in alerts[0].text, "80 %" in alerts[1].text, "50 %" in alerts[2].text] == [True] * 3
    assert {(each.kind, each.subject, each.delivery) for each in alerts} == {("budget", "one", Alert.DELIVERY_NONE)}
    assert (len(alerts), second.next_page_token) == (3, "")


async def test_a_webhook_is_told_each_alert_once_and_says_sandbox(heard):
    """What became of it is listed."""
    url, told = heard
    async with gateway(alerts=AlertsTable(url)) as pictor:
        await exhaust(pictor)
        texts = [(await asyncio.wait_for(told.get(), 10))["text"] for _ in range(3)]
        await pictor.images.Generate(GenerateRequest(prompt="another fox", tier=image.TIER_FREE))
        await pictor.app.alerts.look()
        deliveries: set[int] = set()
        while deliveries != {Alert.DELIVERY_DONE}:
            deliveries = {each.delivery for each in (await listed(pictor)).alerts}

    assert [text.startswith("SANDBOX: budget 'one' has reached") for text in texts] == [True] * 3
    assert told.empty()


async def test_a_budget_that_is_set_past_its_thresholds_is_told_at_once(heard, caplog):
    """In the log, the metric, the list and to the webhook, once, though nobody draws any more."""
    url, told = heard
    metrics = InMemoryMetricReader()
    async with gateway(alerts=AlertsTable(url), outside=app.Outside(metric_reader=metrics)) as pictor:
        await pictor.images.Generate(GenerateRequest(prompt="a fox"))
        for _ in range(2):
            await pictor.usage.SetBudget(usage.SetBudgetRequest(budget=ONE_PICTURE))
        texts = [(await asyncio.wait_for(told.get(), 10))["text"] for _ in range(3)]
        await pictor.app.alerts.look()
        alerts = (await listed(pictor)).alerts
        data = metrics.get_metrics_data()

    for percent in (50, 80, 100):  # each by itself, so in any order
        assert sum(f"has reached {percent} %" in text for text in texts) == 1
    assert told.empty()
    assert [(each.kind, each.subject) for each in alerts] == [("budget", "one")] * 3
    assert [text.startswith("ALERT budget: budget 'one' has") for text in caplog.messages if "ALERT" in text] == [
        True
    ] * 3
    found = [each for scope in data.resource_metrics[0].scope_metrics for each in scope.metrics]
    (alarms,) = (each for each in found if each.name == telemetry.ALARMS)
    assert [point.value for point in alarms.data.data_points] == [3]


async def test_a_dead_webhook_holds_up_nobody():
    """Jobs answer while it is tried; the alert stays pending."""
    async with gateway(alerts=AlertsTable("http://127.0.0.1:9/hook")) as pictor:
        await exhaust(pictor)
        answer = await pictor.images.Generate(GenerateRequest(prompt="another fox"), timeout=20)

        assert answer.generation.state == Generation.STATE_SUCCEEDED
        assert Alert.DELIVERY_PENDING in {each.delivery for each in (await listed(pictor)).alerts}


async def test_what_one_replica_cannot_tell_another_tells_later(heard, databases, request, tmp_path):
    """While the first may still be telling it, the second stays silent, also at its own start."""
    where = databases.postgresql(request.getfixturevalue("postgresql"))
    database = where.url.render_as_string(hide_password=False).replace("+psycopg", "")
    url, told = heard
    now, idle, is_tried = [datetime.now(UTC)], Idle(), asyncio.Event()

    async def for_ever(_seconds: float) -> None:
        is_tried.set()
        await asyncio.Event().wait()

    dead, alive = AlertsTable("http://127.0.0.1:9/hook"), AlertsTable(url)
    outside = app.Outside(now=lambda: now[0], sweep_pause=idle.pause)
    first = gateway(alerts=dead, database=database, data_dir=tmp_path / "1", outside=app.Outside(sleep=for_ever))
    second = gateway(alerts=alive, database=database, data_dir=tmp_path / "2", outside=outside)
    async with first as one, second as two:
        await draw(one, "openai:insufficient_quota", model=GPT)
        await asyncio.wait_for(is_tried.wait(), 10)
        await idle.turn()
        before = [(each.kind, each.delivery) for each in (await listed(two)).alerts]
        now[0] += timedelta(minutes=9)
        await idle.turn()
        text = (await asyncio.wait_for(told.get(), 10))["text"]
        while (await listed(two)).alerts[0].delivery != Alert.DELIVERY_DONE:
            pass

    assert before == [("unfunded", Alert.DELIVERY_PENDING)]
    assert "out of credit" in text
    assert told.empty()


async def test_alerts_survive_a_restart(tmp_path):
    """They lie in the database, and are not raised again."""
    async with gateway(data_dir=tmp_path) as pictor:
        await exhaust(pictor)
        before = list((await listed(pictor)).alerts)
    async with gateway(data_dir=tmp_path) as pictor:
        await exhaust(pictor)

        assert [each.id for each in (await listed(pictor)).alerts] == [each.id for each in before]


@pytest.mark.parametrize(("kind", "fault"), [("unfunded", "insufficient_quota"), ("key_refused", "invalid_api_key")])
async def test_what_guards_alarm_is_listed_too(kind, fault):
    """The caller gets a picture of the other engine; the operator finds out why."""
    async with gateway() as pictor:
        wanted = GenerateRequest(prompt="a fox", tier=image.TIER_PRO)
        await pictor.images.Generate(wanted, metadata=[("x-sandbox-fault", f"openai:{fault}")])
        await pictor.app.alerts.look()

        (alert,) = (await listed(pictor)).alerts

    assert (alert.kind, alert.subject) == (kind, "openai")


async def test_each_model_that_an_account_may_not_use_is_listed():
    """Also two of one engine within the hour."""
    async with gateway(overlay=NEWER) as pictor:
        for model in (GPT, "gpt-image-2.5-flare"):
            await draw(pictor, "openai:model_not_found", model=model)

        texts = [each.text for each in (await listed(pictor)).alerts if each.kind == "model_tripped"]

    assert texts == [f"openai does not offer {model} to our account" for model in ("gpt-image-2.5-flare", GPT)]


async def test_each_tier_of_a_budget_for_each_is_listed():
    """The second that reaches its threshold is no less news than the first."""
    budget = usage.Budget(
        id="each", counted=usage.Budget.COUNTED_TIER, key="*", pictures=1, window=usage.Budget.WINDOW_DAY, soft=True
    )
    budget.thresholds.append(100)
    async with gateway() as pictor:
        await pictor.usage.SetBudget(usage.SetBudgetRequest(budget=budget))
        for tier in (image.TIER_FREE, image.TIER_STANDARD, image.TIER_FREE):
            await draw(pictor, tier=tier)

        texts = [each.text for each in (await listed(pictor)).alerts]

    assert ["by standard: 1" in texts[0], "by free: 1" in texts[1]] == [True, True]
    assert len(texts) == 2


async def draw(pictor: Gateway, fault: str | None = None, **fields) -> None:
    """Draw one picture, with a fault or without; what the caller is told matters to other tests."""
    metadata = [("x-sandbox-fault", fault)] if fault else None
    call = pictor.images.Generate(GenerateRequest(prompt="a fox", max_inline_bytes=0, **fields), metadata=metadata)
    await asyncio.gather(call, return_exceptions=True)
    await pictor.app.alerts.look()


async def kinds(pictor: Gateway) -> list[tuple[str, str]]:
    return [(each.kind, each.subject) for each in (await listed(pictor)).alerts]


async def test_a_cost_above_its_hold_is_listed(tmp_path):
    """An overlay whose estimates are too low: the reported tokens are posted, and somebody should look."""
    overlay = "[models.gpt-image-2.tokens.image_out.factors]\nlow = 1\nmedium = 1\nhigh = 1\n"
    (tmp_path / "models.toml").write_text(overlay)
    async with gateway(overlay=tmp_path) as pictor:
        await draw(pictor, model=GPT)

        assert await kinds(pictor) == [("overrun", "openai")]
        total = (await pictor.usage.GetUsage(usage.GetUsageRequest())).total
        assert total.cost.nanos == pictor.charged_nanos()


async def test_a_picture_without_usage_is_listed_as_without_price():
    """Its estimate counts, which nobody reported."""
    async with gateway() as pictor:
        await draw(pictor, "openai:missing_usage", model=GPT)

        assert await kinds(pictor) == [("price_missing", "openai")]


async def test_a_day_before_the_first_price_is_listed():
    """The first one counts; somebody should add the one that holds."""
    early = app.Outside(now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
    async with gateway(outside=early) as pictor:
        await draw(pictor, model=GPT)

        assert await kinds(pictor) == [("price_missing", "openai")]
        assert "has no price for today" in (await listed(pictor)).alerts[0].text


async def test_another_served_version_is_listed_once():
    """The version before is named; the same one again is no news."""
    async with gateway() as pictor:
        await draw(pictor)
        assert await kinds(pictor) == []

        for _ in range(2):
            await draw(pictor, "gemini:served_version;model_version=gemini-3.1-flash-image-2026-12")

        (alert,) = (await listed(pictor)).alerts
    assert (alert.kind, alert.subject) == ("version_changed", "gemini")
    assert "as gemini-3.1-flash-image-2026-12, until now it was gemini-3.1-flash-image" in alert.text


async def test_unknown_cost_above_one_percent_is_listed():
    """One lost answer among few."""
    async with gateway() as pictor:
        await draw(pictor, model=GPT)
        await draw(pictor, "openai:reset_before_response", model=GPT)

        assert await kinds(pictor) == [("unknown_cost", "openai")]


async def test_a_lost_answer_among_many_is_no_alert():
    """Below one percent of the day's money nobody is called."""
    async with gateway() as pictor:
        medium = {"model": GPT, "quality": image.QUALITY_MEDIUM, "count": 10}
        await asyncio.gather(*(draw(pictor, **medium) for _ in range(4)))
        low = {"model": GPT, "quality": image.QUALITY_LOW}

        await draw(pictor, "openai:reset_before_response", **low)

        total = (await pictor.usage.GetUsage(usage.GetUsageRequest())).total
        assert 0 < total.unknown_cost.nanos * 100 < total.cost.units * 10**9 + total.cost.nanos
        assert await kinds(pictor) == []
