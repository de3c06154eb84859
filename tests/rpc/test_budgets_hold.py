"""Budgets at the door: what no longer fits is refused before an engine hears of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from gateway import GPT, NANO, Gateway, gateway, refusal
from pictor.v1.generation_pb2 import Adaptation, Generation
from pictor.v1.image_pb2 import QUALITY_LOW, TIER_FREE, TIER_PRO, Money
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateResponse, PlanRequest
from pictor.v1.usage_service_pb2 import GetUsageRequest, ListBudgetsRequest
from pictord import app, simulation
from pictord.domain.budget import EACH, Budget, Counted, Unit, Window
from pictord.domain.request import Tier
from pictord.sandbox import SandboxSettings
from pictord.settings import DATABASE_FILE
from pictord.store.database import sqlite_address
from pictord.store.upkeep import check

FORTY = Budget("forty", Counted.GLOBAL, "", Unit.PICTURES, Window.DAY, 40)
OPENAI_NONE = Budget("openai", Counted.PROVIDER, "openai", Unit.PICTURES, Window.DAY, 0)
NEWER = Path(__file__).parents[1] / "unit/test_catalog_newer"
FREE_TWO = Budget("free-two", Counted.END_USER, EACH, Unit.PICTURES, Window.MONTH, 2, tier=Tier.FREE)


async def draw(door: Gateway, prompt: str = "a fox", **fields) -> grpc.aio.AioRpcError | None:
    """Draw one picture; the refusal, if it is one."""
    try:
        await door.images.Generate(GenerateRequest(prompt=prompt, max_inline_bytes=0, **fields), timeout=50)
    except grpc.aio.AioRpcError as error:
        return error
    return None


@pytest.mark.parametrize("database", ["memory", None])
async def test_of_500_callers_at_the_door_a_budget_for_40_draws_40(database):
    """Never 41, in memory and in SQLite; the engines are asked for 40."""
    async with gateway(database=database) as door:
        await door.app.budgets.set(FORTY)

        answers = await asyncio.gather(*(draw(door, f"fox {number}") for number in range(500)))

        refusals = [refusal(each) for each in answers if each is not None]
        assert len(door.sandbox.charges) == 40
        assert len(refusals) == 460
        assert {(each.code, each.reason) for each in refusals} == {("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED")}


async def test_a_refusal_names_the_budget_what_is_needed_and_what_is_left():
    """So that nobody has to ask the operators which one it was."""
    async with gateway() as door:
        await door.app.budgets.set(replace(FORTY, amount=1, unit=Unit.PICTURES))
        assert await draw(door, count=1) is None

        told = refusal(await draw(door))

        assert told.text == "budget 'forty': needs 1 at worst, 0 of 1 pictures is left"
        assert {key: told.metadata[key] for key in ("budget", "needed", "available")} == {
            "budget": "forty",
            "needed": "1",
            "available": "0",
        }


async def test_the_free_tiers_end_users_have_their_pictures_each():
    """Two for Ann, two for Bob, and Ann may go on as a paying user."""
    async with gateway() as door:
        await door.app.budgets.set(FREE_TWO)

        told = [
            await draw(door, f"fox {n}", tier=TIER_FREE, end_user=user)
            for n, user in enumerate(["ann"] * 3 + ["bob"] * 3)
        ]

        assert [each is None for each in told] == [True, True, False] * 2
        assert await draw(door, tier=TIER_PRO, end_user="ann") is None


async def test_a_soft_budget_refuses_nobody():
    """It only alerts."""
    async with gateway() as door:
        await door.app.budgets.set(replace(FORTY, amount=1, is_hard=False))

        assert [await draw(door, f"fox {n}") for n in range(3)] == [None] * 3


async def test_real_keys_are_under_the_daily_cap_until_somebody_sets_it():
    """Its own reason stays; the operator's budget of that id stands in for it."""
    async with gateway(real=True, daily_cap_nanos=1_000) as door:
        told = refusal(await draw(door))
        assert (told.reason, told.metadata["budget"]) == ("DAILY_CAP", "daily-cap")

        await door.app.budgets.set(replace(FORTY, id="daily-cap"))
        assert await draw(door) is None


async def test_simulated_engines_have_no_cap():
    """They cost nothing."""
    async with gateway(daily_cap_nanos=1_000) as door:
        assert await draw(door) is None
        assert door.app.budgets.in_force == ()


async def test_an_end_user_is_the_same_one_after_a_restart(tmp_path):
    """Without a configured key too: whoever drew this month's pictures gets no others."""
    for _ in range(2):
        async with gateway(data_dir=tmp_path) as door:
            await door.app.budgets.set(FREE_TWO)
            assert await draw(door, tier=TIER_FREE, end_user="ann") is None
    async with gateway(data_dir=tmp_path) as door:
        told = refusal(await draw(door, tier=TIER_FREE, end_user="ann"))

    assert told.metadata["budget"] == "free-two"
    assert (tmp_path / "end-user.key").stat().st_mode & 0o077 == 0


# A provider account's budget


async def test_a_full_account_leaves_its_engine_out_and_the_other_one_draws():
    """The plan says so before, the record afterwards; what Pro loses by it is an adaptation."""
    async with gateway() as door:
        await door.app.budgets.set(OPENAI_NONE)
        wanted = GenerateRequest(prompt="a fox", tier=TIER_PRO)

        planned = (await door.images.Plan(PlanRequest(generate=wanted))).plan
        made = (await door.images.Generate(wanted)).generation

        for decision in (planned, made.decision):
            (left_out,) = [each for each in decision.exclusions if each.model == GPT]
            assert left_out.reason == "budget_exhausted"
            assert left_out.text == f"{GPT}: budget 'openai': needs 1 at worst, 0 of 0 pictures is left"
            assert [each.model for each in decision.candidates] == [NANO]
        assert [each.model for each in made.attempts] == [NANO]
        assert [each.kind for each in made.adaptations] == [Adaptation.KIND_QUALITY_REDUCED]
        assert [charge.provider for charge in door.sandbox.charges] == ["gemini"]
        await door.app.alerts.look()
        (told,) = [each.text for each in await alerts(door)]
        assert told == "budget 'openai' is exhausted: a request found no room, 0 pictures of 0 pictures is left"


async def alerts(door: Gateway):
    return await door.app.store.books.alerts(since=None, before=None, limit=10)


async def test_who_may_not_fall_back_is_refused_by_the_budget():
    """A named model goes to no other by itself; what would help is said."""
    async with gateway() as door:
        await door.app.budgets.set(OPENAI_NONE)

        told = refusal(await draw(door, model=GPT))
        assert await draw(door, model=GPT, allow_fallback=True) is None

    assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED")
    assert {name: told.metadata[name] for name in ("budget", "needed", "available")} == {
        "budget": "openai",
        "needed": "1",
        "available": "0",
    }
    assert "allow_fallback would let" in told.text


async def test_only_when_no_account_has_room_is_a_request_refused():
    """By the budgets, both of which the sentence names; Plan says the same."""
    async with gateway() as door:
        await door.app.budgets.set(OPENAI_NONE)
        await door.app.budgets.set(replace(OPENAI_NONE, id="gemini", key="gemini"))

        told = refusal(await draw(door))
        planned = await door.images.Plan(PlanRequest(generate=GenerateRequest(prompt="a fox")))

    assert told.reason == "BUDGET_EXHAUSTED"
    assert "budget 'openai'" in told.text
    assert "budget 'gemini'" in told.text
    assert planned.refusal.text == told.text
    assert len(door.sandbox.charges) == 0


async def test_a_global_budget_goes_before_what_an_account_has_left():
    """The other engine would be charged under it too."""
    async with gateway() as door:
        await door.app.budgets.set(replace(FORTY, amount=0))
        await door.app.budgets.set(OPENAI_NONE)

        assert refusal(await draw(door, tier=TIER_PRO)).metadata["budget"] == "forty"


@pytest.mark.parametrize("database", ["memory", "sqlite", "postgresql"])
async def test_racing_calls_fill_an_account_to_its_cap_and_the_rest_go_to_the_other_engine(
    database, request, databases
):
    """Never one over, nobody refused, each held once."""
    settings = {"database": "memory" if database == "memory" else None}
    if database == "postgresql":
        place = databases.postgresql(request.getfixturevalue("postgresql"))
        settings["database"] = place.url.render_as_string(hide_password=False).replace("+psycopg", "")
    async with gateway(**settings) as door:
        await door.app.budgets.set(replace(OPENAI_NONE, amount=7))
        wanted = {"model": GPT, "quality": QUALITY_LOW, "allow_fallback": True}

        answers = await asyncio.gather(*(draw(door, f"fox {number}", **wanted) for number in range(20)))

        assert answers == [None] * 20
        assert Counter(charge.provider for charge in door.sandbox.charges) == {"openai": 7, "gemini": 13}
        (status,) = (await door.usage.ListBudgets(ListBudgetsRequest())).budgets
        assert status.sums[0].pictures == 7


async def test_a_fallback_passes_over_a_full_account():
    """The first answer is lost and stays held; the account has no room for its other model, the next engine has."""
    newer = SandboxSettings(time_scale=0, models=simulation.models(NEWER))
    cents = Budget("cents", Counted.PROVIDER, "gemini", Unit.USD, Window.DAY, 90_000_000)
    async with gateway(overlay=NEWER, sandbox=newer) as door:
        await door.app.budgets.set(cents)
        lost = [("x-sandbox-fault", "gemini:internal")]

        made = (await door.images.Generate(GenerateRequest(prompt="a fox"), metadata=lost)).generation

    assert made.state == Generation.STATE_SUCCEEDED
    assert [each.model for each in made.attempts] == ["gemini-nano-banana-2.1", GPT]
    assert [each.model for each in made.decision.candidates] == ["gemini-nano-banana-2.1", NANO, GPT]


async def test_a_fallback_that_no_account_has_room_for_names_the_budget():
    """The first answer is lost; whoever reads the failure knows whom to ask."""
    async with gateway() as door:
        await door.app.budgets.set(replace(OPENAI_NONE, id="no-openai"))
        call = door.images.Generate(GenerateRequest(prompt="a fox"), metadata=[("x-sandbox-fault", "gemini:internal")])
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call

    told = refusal(error.value)
    assert told.reason == "BUDGET_EXHAUSTED"
    assert "no room under budget 'no-openai' for another attempt after" in told.text


# A budget that is set while calls run


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request, databases) -> str | None:
    if request.param != "postgresql":
        return "memory" if request.param == "memory" else None
    place = databases.postgresql(request.getfixturevalue("postgresql"))
    return place.url.render_as_string(hide_password=False).replace("+psycopg", "")


async def drawn_around(
    door: Gateway, meanwhile: Callable[[], Awaitable[None]], fault: str, count: int, **fields
) -> list[GenerateResponse | grpc.aio.AioRpcError]:
    """Draw; once all first attempts have met the fault, something happens before they end."""
    have_come, go_on, finish = asyncio.Semaphore(0), asyncio.Event(), door.app.store.finish_attempt

    async def ends_late(generation_id, attempt, *rest):
        if attempt.index == 0:
            have_come.release()
            await go_on.wait()
        await finish(generation_id, attempt, *rest)

    door.app.store.finish_attempt = ends_late
    asked = [GenerateRequest(prompt=f"fox {n}", max_inline_bytes=0, **fields) for n in range(count)]
    calls = [door.images.Generate(each, metadata=[("x-sandbox-fault", fault)], timeout=300) for each in asked]
    for _ in calls:
        await have_come.acquire()
    await meanwhile()
    go_on.set()
    return await asyncio.gather(*calls, return_exceptions=True)


async def nanos_counted(door: Gateway) -> int:
    (status,) = (await door.usage.ListBudgets(ListBudgetsRequest())).budgets
    return nanos(status.sums[0].usd)


async def nanos_spent(door: Gateway) -> int:
    return nanos((await door.usage.GetUsage(GetUsageRequest())).total.cost)


def nanos(money: Money) -> int:
    return money.units * 10**9 + money.nanos


async def test_a_hard_budget_that_is_set_while_calls_run_refuses_their_fallbacks(database):
    """The first answers are lost and stay held, which leaves no room for others."""
    async with gateway(database=database) as door:

        async def set_budget() -> None:
            await door.app.budgets.set(replace(FORTY, unit=Unit.USD, amount=await nanos_spent(door)))

        answers = await drawn_around(door, set_budget, "gemini:internal", 5)

        refusals = [refusal(each) for each in answers]
        assert [(each.code, each.reason) for each in refusals] == [("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED")] * 5
        assert {charge.provider for charge in door.sandbox.charges} <= {"gemini"}
        assert await nanos_counted(door) == await nanos_spent(door) > 0


async def test_a_budget_that_is_set_while_calls_run_counts_what_they_come_to(database):
    """The first attempts come to nothing, the fallbacks to what their engine charges."""
    async with gateway(database=database) as door:

        async def set_budget() -> None:
            await door.app.budgets.set(replace(FORTY, unit=Unit.USD, amount=10**12))

        answers = await drawn_around(door, set_budget, "openai:rate_limit", 3, tier=TIER_PRO)

        assert [[each.model for each in answer.generation.attempts] for answer in answers] == [[GPT, NANO]] * 3
        assert await nanos_counted(door) == await nanos_spent(door) == door.charged_nanos() > 0


async def test_a_budget_that_is_raised_while_a_call_runs_lets_its_fallback_through():
    """When the call was opened there was no room for one."""
    async with gateway() as door:
        await door.app.budgets.set(replace(OPENAI_NONE, amount=0))

        async def raise_budget() -> None:
            await door.app.budgets.set(replace(OPENAI_NONE, amount=1))

        (answer,) = await drawn_around(door, raise_budget, "gemini:rate_limit", 1)

        assert [each.model for each in answer.generation.attempts] == [NANO, GPT]
        (status,) = (await door.usage.ListBudgets(ListBudgetsRequest())).budgets
        assert status.sums[0].pictures == 1


async def test_a_fallback_after_midnight_counts_on_its_own_day(tmp_path):
    """As it does in usage and on the invoice; `db check` finds the same."""
    clock = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC)]
    async with gateway(data_dir=tmp_path, outside=app.Outside(now=lambda: clock[0])) as door:
        await door.app.budgets.set(replace(FORTY, unit=Unit.USD, amount=10**12))

        async def midnight() -> None:
            clock[0] += timedelta(minutes=2)

        (answer,) = await drawn_around(door, midnight, "gemini:internal", 1)

        lost, drew = [nanos(each.cost.amount) for each in answer.generation.attempts]
        assert lost > 0
        assert await nanos_counted(door) == drew == door.charged_nanos()
        before = await door.app.store.spent("usd/2026-11-30/global")
        assert before == lost
        assert check(sqlite_address(tmp_path / DATABASE_FILE), clock[0]).problems == ()


async def test_a_drain_lets_nobody_plan_anew():
    """Who finds its engine's account full while the server stops is told so, and starts nothing behind its back."""
    async with gateway(drain_s=30.0) as door:
        await door.app.budgets.set(OPENAI_NONE)
        has_come, go_on, open_ = asyncio.Event(), asyncio.Event(), door.app.store.open

        async def opens_late(opening):
            has_come.set()
            await go_on.wait()
            return await open_(opening)

        door.app.store.open = opens_late
        asking = asyncio.ensure_future(door.images.Generate(GenerateRequest(prompt="a fox", tier=TIER_PRO)))
        await has_come.wait()

        draining = asyncio.create_task(door.app.jobs.drain(30.0))
        await asyncio.sleep(0)
        go_on.set()
        await draining

        assert door.app.jobs.running_count == 0
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await asking
        assert refusal(told.value).reason == "SHUTTING_DOWN"
        assert len(door.sandbox.charges) == 0
