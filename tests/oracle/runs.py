"""The two runs: faults and fickle callers in great numbers, and a gateway that is killed again and again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from gateway import Gateway, gateway, gemini_account, openai_account
from mortal import Mortal, Nursery, connected, life
from oracle.balance import REPORTED, UNKNOWN, Account, account, lost_pictures, nanos, problems
from oracle.clients import Door, FickleClient, PatientClient
from pictor.v1 import history_service_pb2 as history
from pictor.v1.generation_pb2 import Generation
from pictor.v1.history_service_pb2_grpc import HistoryServiceStub
from pictor.v1.image_pb2 import Money
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictor.v1.usage_service_pb2 import Budget, SetBudgetRequest
from pictor.v1.usage_service_pb2_grpc import UsageServiceStub
from pictord.sandbox import Sandbox, SandboxSettings, check_header, run
from pictord.settings import DATABASE_FILE, SandboxUrls
from pictord.store.database import sqlite_address
from pictord.store.upkeep import check

TWO_PERCENT = [
    # 429, 500, reset and timeout
    ("rate_limit", "openai", {"retry_after_ms": "20"}),
    ("rate_limit", "gemini", {"retry_delay": "0.02s"}),
    ("server_error", "openai", {}),
    ("internal", "gemini", {}),
    ("reset_before_response", None, {}),
    ("stall", None, {}),
]

EVERYTHING = Budget(
    id="everything",
    counted=Budget.COUNTED_GLOBAL,
    usd=Money(currency_code="USD", units=10**6),
    window=Budget.WINDOW_DAY,
)
"""A simulated gateway has no daily cap by itself."""


@dataclass
class Result:
    """What a run found: whatever is wrong, and figures."""

    wrong: list[str]
    figures: dict[str, object] = field(default_factory=dict)


@asynccontextmanager
async def restarted(engines: Sandbox, data_dir: Path, *, is_sandbox: bool = False) -> AsyncIterator[Gateway]:
    """The last life on the same data and in the same world, in this process."""
    if is_sandbox:
        world = {"sandbox_urls": SandboxUrls(engines.openai_base_url, engines.gemini_base_url, check_header)}
    else:
        accounts = {"openai": openai_account(engines), "gemini": gemini_account(engines)}
        world = {"daily_cap_nanos": 10**15, **accounts}
    async with gateway(real=not is_sandbox, data_dir=data_dir, **world) as pictor:
        yield pictor


async def audit(engines: Sandbox, data_dir: Path, *, is_sandbox: bool = False) -> tuple[Account, Result]:
    """The account after a restart beside the charge log; every picture of the records is downloaded."""
    await engines.settle()
    async with restarted(engines, data_dir, is_sandbox=is_sandbox) as pictor:
        books = await account(pictor, engines)
        wrong = [*problems(books), *await lost_pictures(pictor, books.generations)]
    wrong += check(sqlite_address(data_dir / DATABASE_FILE), datetime.now(UTC)).problems
    left = [path.name for path in (data_dir / "arrived").iterdir()]
    return books, Result([*wrong, *(f"{name} is left in `arrived`" for name in left)], figures(books))


def figures(books: Account) -> dict[str, object]:
    reported, unknown = books.of_basis(REPORTED), books.of_basis(UNKNOWN)
    states = Counter(Generation.State.Name(each.state).removeprefix("STATE_").lower() for each in books.generations)
    return {
        "generations": len(books.generations),
        **{f"  {state}": count for state, count in sorted(states.items())},
        "requests at the engines": len(books.requests),
        "charged": dollars(books.charged_nanos),
        "in the ledger": dollars(books.ledger_nanos),
        "  reported": f"{dollars(sum(nanos(each.cost) for each in reported))} in {len(reported)} attempts",
        "  unknown": f"{dollars(sum(nanos(each.cost) for each in unknown))} in {len(unknown)} attempts",
        "pictures downloaded": sum(output.HasField("image") for each in books.generations for output in each.outputs),
    }


def dollars(nanos: int) -> str:
    return f"${nanos / 10**9:.4f}"


# Faults and fickle callers


async def faults_and_cancels(nursery: Nursery, data_dir: Path, *, calls: int, at_once: int, seed: int) -> Result:
    """So many calls, 2 % each of four faults, a fifth of the callers gone before the end."""
    started = time.monotonic()
    async with run(SandboxSettings(time_scale=0, seed=seed)) as engines:
        for kind, provider, args in TWO_PERCENT:
            engines.faults.add(kind, provider=provider, args=args, probability=0.02)
        async with (
            nursery.gateway(engines, data_dir, is_sandbox=True) as mortal,
            connected(mortal) as channel,
        ):
            await UsageServiceStub(channel).SetBudget(SetBudgetRequest(budget=EVERYTHING))
            images, places, heard = ImageServiceStub(channel), asyncio.Semaphore(at_once), Counter[str]()

            async def take_turn(number: int) -> None:
                async with places:
                    heard[await FickleClient(seed, number).call(images)] += 1

            await asyncio.gather(*(take_turn(number) for number in range(calls)))
            called_s = time.monotonic() - started
            await nothing_runs(HistoryServiceStub(channel))
        engines.release_stalls()
        struck = Counter(fault.split(";")[0] for request in engines.requests for fault in request.faults)
        books, result = await audit(engines, data_dir, is_sandbox=True)
    outcomes = Counter(attempt.outcome for attempt in books.attempts)
    result.figures = {
        "calls": calls,
        "calls a second": f"{calls / called_s:.0f}",
        **{f"  {kind}": count for kind, count in sorted(struck.items())},
        **{f"callers told: {word or 'nothing, they left'}": count for word, count in sorted(heard.items())},
        **result.figures,
        **{f"  attempts: {outcome}": count for outcome, count in sorted(outcomes.items())},
        "seconds": f"{time.monotonic() - started:.0f}",
    }
    missing = {kind for kind, *_ in TWO_PERCENT} - set(struck)
    result.wrong += [f"no call was struck by {kind}" for kind in sorted(missing)]
    return result


async def nothing_runs(stub: HistoryServiceStub) -> None:
    """Return once every generation has ended, those of callers who left too."""
    for state in (Generation.STATE_PENDING, Generation.STATE_RUNNING):
        listed = await stub.ListGenerations(history.ListGenerationsRequest(state=state, page_size=200))
        for each in listed.generations:
            with suppress(grpc.aio.AioRpcError):
                async for _ in stub.WatchGeneration(history.WatchGenerationRequest(generation_id=each.id)):
                    pass


# Kills


async def random_kills(
    nursery: Nursery, data_dir: Path, *, kills: int, at_once: int, seed: int, longest_life_s: float = 0.6
) -> Result:
    """A gateway under load that is killed so many times, each time at a random moment, and restarted on its data."""
    started, dice = time.monotonic(), random.Random(seed)
    starts: list[float] = []
    told: Counter[str] = Counter()
    async with run(SandboxSettings(time_scale=0.004, seed=seed)) as engines:
        door, is_over = Door(), asyncio.Event()
        numbers = iter(range(10**9))

        async def keep_calling() -> None:
            while not is_over.is_set():
                told[await PatientClient(seed, next(numbers)).call(door)] += 1

        callers = [asyncio.ensure_future(keep_calling()) for _ in range(at_once)]
        for _ in range(kills):
            async with _alive(nursery, engines, data_dir, door, starts) as mortal:
                await asyncio.sleep(dice.uniform(0.0, longest_life_s))
                mortal.kill()
                await mortal.dead()
        async with _alive(nursery, engines, data_dir, door, starts):
            is_over.set()
            await asyncio.gather(*callers)
        _, result = await audit(engines, data_dir)
    result.figures = {
        "kills": kills,
        "slowest start": f"{max(starts):.2f} s",
        **{f"callers told: {word}": count for word, count in sorted(told.items())},
        **result.figures,
        "seconds": f"{time.monotonic() - started:.0f}",
    }
    unheard = set(told) - {"picture", "SHUTTING_DOWN", "CANCELLED"}
    result.wrong += [f"callers were told {reason}" for reason in sorted(unheard)]
    return result


@asynccontextmanager
async def _alive(
    nursery: Nursery, engines: Sandbox, data_dir: Path, door: Door, starts: list[float]
) -> AsyncIterator[Mortal]:
    began = time.monotonic()
    mortal = await nursery.born(life(engines, data_dir))
    starts.append(time.monotonic() - began)
    try:
        async with connected(mortal) as channel:
            door.opens(channel)
            yield mortal
    finally:
        await mortal.end()
