"""Five weeks of spending by several callers: lost calls, an open breaker, a full budget, alerts."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from door import OPS, WEB
from gateway import GPT, Gateway
from pictor.v1.image_pb2 import TIER_FREE, TIER_PRO, TIER_STANDARD
from pictor.v1.image_service_pb2 import GenerateRequest
from pictor.v1.usage_service_pb2 import Budget, SetBudgetRequest
from pictord.auth.callers import hash_key
from pictord.domain.caller import Role
from pictord.rpc.convert_out import money_message
from pictord.settings import CallerTable
from served import Served

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
STUDIO, ADS = "pictor_studio-key", "pictor_ads-key"
CALLERS = (
    CallerTable("web", (hash_key(WEB),)),
    CallerTable("studio", (hash_key(STUDIO),)),
    CallerTable("ads", (hash_key(ADS),)),
    CallerTable("ops", (hash_key(OPS),), role=Role.OPERATOR),
)


@dataclass
class Clock:
    """A time of day that the scene sets."""

    time: datetime = field(default=NOON)

    def __call__(self) -> datetime:
        return self.time


def key(text: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Metadata of a call."""
    return (("authorization", f"Bearer {text}"), *more)


def spend_days(served: Served, clock: Clock, days: int) -> None:
    """Every caller draws on most days; the last one is the clock's."""
    dice, today = random.Random(7), clock.time
    for back in range(days, -1, -1):
        clock.time = today - timedelta(days=back)
        served.run(lambda running: _draw(running, dice, 1 if clock.time.weekday() >= 5 else 3))
    clock.time = today


async def _draw(running: Gateway, dice: random.Random, most: int) -> None:
    callers = ((WEB, (TIER_FREE, TIER_STANDARD)), (STUDIO, (TIER_PRO, TIER_STANDARD)), (ADS, (TIER_STANDARD,)))
    for who, tiers in callers:
        for number in range(dice.randint(0, most)):
            request = GenerateRequest(prompt=f"a fox, {number}", tier=dice.choice(tiers), max_inline_bytes=0)
            await running.images.Generate(request, metadata=key(who))


async def set_budgets(running: Gateway) -> None:
    """In dollars and pictures, hard and soft, for one, for each and for all; that of the day is full."""
    month, day = Budget.WINDOW_MONTH, Budget.WINDOW_DAY
    caller, provider, everybody = Budget.COUNTED_CALLER, Budget.COUNTED_PROVIDER, Budget.COUNTED_GLOBAL
    budgets = (
        Budget(id="studio", counted=caller, key="studio", window=month, usd=usd("1.00"), soft=True),
        Budget(id="daily", counted=everybody, window=day, usd=usd("0.55")),
        Budget(id="openai-month", counted=provider, key="openai", window=month, usd=usd("40.00")),
        Budget(id="callers", counted=caller, key="*", window=month, pictures=60, soft=True),
    )
    for budget in budgets:
        await running.usage.SetBudget(SetBudgetRequest(budget=budget), metadata=key(OPS))


def usd(text: str):
    """An amount of the contract."""
    whole, _, part = text.partition(".")
    return money_message(int(whole) * 10**9 + int(part.ljust(9, "0") or 0))


async def lose_calls(running: Gateway, count: int = 5, who: str = STUDIO) -> None:
    """Calls that OpenAI never answers properly: their cost is unknown, and five in a row open the breaker."""
    fault = ("x-sandbox-fault", "openai:server_error")
    for number in range(count):
        with suppress(grpc.aio.AioRpcError):
            request = GenerateRequest(prompt=f"lost {number}", model=GPT, max_inline_bytes=0)
            await running.images.Generate(request, metadata=key(who, fault))


_PENDING: list[asyncio.Future[None]] = []


async def begin_one(running: Gateway) -> None:
    """A call that is still under way, so that its price is held; it ends with the gateway."""
    stalled = len(running.sandbox.stalls)
    request = GenerateRequest(prompt="under way", max_inline_bytes=0)
    call = running.images.Generate(request, metadata=key(ADS, ("x-sandbox-fault", "gemini:stall")))
    _PENDING.append(asyncio.ensure_future(_quietly(call)))
    await running.sandbox.wait_for_stalls(stalled + 1)


async def _quietly(call: Any) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call


async def fill_the_day(running: Gateway) -> None:
    """Draw until the day's budget has no room."""
    with suppress(grpc.aio.AioRpcError):
        while True:
            await running.images.Generate(GenerateRequest(prompt="no room", max_inline_bytes=0), metadata=key(ADS))


def busy(served: Served, clock: Clock, days: int) -> None:
    """All of it."""
    spend_days(served, clock, days)
    served.run(set_budgets)
    served.run(begin_one)
    served.run(lose_calls)
    served.run(fill_the_day)
    served.run(lambda running: running.app.alerts.look())
