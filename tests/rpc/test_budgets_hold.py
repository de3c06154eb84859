"""Budgets at the door: what no longer fits is refused before an engine hears of it."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from gateway import Gateway, gateway, refusal
from pictor.v1.image_pb2 import TIER_FREE, TIER_PRO
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.domain.budget import EACH, Budget, Counted, Unit, Window
from pictord.domain.request import Tier

FORTY = Budget("forty", Counted.GLOBAL, "", Unit.PICTURES, Window.DAY, 40)
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
