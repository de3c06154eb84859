"""Alerts through the door: listed page by page, and told to a webhook, while jobs go on."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway import Gateway, gateway
from pictor.v1 import image_pb2 as image
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.settings import AlertsTable

Alert = usage.Alert
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


async def test_a_dead_webhook_holds_up_nobody():
    """Jobs answer while it is tried; the alert stays pending."""
    async with gateway(alerts=AlertsTable("http://127.0.0.1:9/hook")) as pictor:
        await exhaust(pictor)
        answer = await pictor.images.Generate(GenerateRequest(prompt="another fox"), timeout=20)

        assert answer.generation.state == Generation.STATE_SUCCEEDED
        assert Alert.DELIVERY_PENDING in {each.delivery for each in (await listed(pictor)).alerts}


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
