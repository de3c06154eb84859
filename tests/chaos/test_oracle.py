"""The money oracle in small (`make oracle` runs it for long): the account agrees with the engines' charge log.

Faults are drawn from the seed, the prompt and its occurrence, and every client's behaviour from its number, so a
failure can be run again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway import Gateway, gateway
from mortal import Nursery, nursery
from oracle.balance import REPORTED, UNKNOWN, Account, account, problems
from oracle.clients import FickleClient
from oracle.runs import random_kills
from pictor.v1.generation_pb2 import Generation
from pictord.sandbox import SandboxSettings

SEED = 20261122
CALLS, AT_ONCE = 400, 32
DAILY_CAP_NANOS = 10**15

FAULTS = [
    ("rate_limit", "openai", {"retry_after_ms": "20"}, 0.05),
    ("rate_limit", "gemini", {"retry_delay": "0.02s"}, 0.04),
    ("server_error", "openai", {}, 0.05),
    ("internal", "gemini", {}, 0.04),
    ("reset_before_response", None, {}, 0.03),
    ("reset_mid_body", None, {}, 0.03),
    ("truncated_json", None, {}, 0.03),
    ("missing_usage", None, {}, 0.02),
    ("moderation_blocked", "openai", {}, 0.05),
    ("finish_reason", "gemini", {"reason": "IMAGE_SAFETY"}, 0.03),
]


@pytest.fixture
def born() -> Iterator[Nursery]:
    with nursery() as running:
        yield running


async def test_the_account_agrees_with_the_charge_log_under_load_and_faults():
    """400 calls, 32 at a time, a quarter of them hit by faults, a fifth abandoned: no cent is lost or counted twice."""
    settings = SandboxSettings(time_scale=0, seed=SEED)
    async with gateway(real=True, sandbox=settings, daily_cap_nanos=DAILY_CAP_NANOS) as pictor:
        for kind, provider, args, probability in FAULTS:
            pictor.sandbox.faults.add(kind, provider=provider, args=args, probability=probability)
        places = asyncio.Semaphore(AT_ONCE)

        async def take_turn(number: int) -> None:
            async with places:
                await FickleClient(SEED, number).call(pictor.images)

        await asyncio.gather(*(take_turn(number) for number in range(CALLS)))
        # All generations, once no job runs and no engine works any more.
        await pictor.app.jobs.drain(timeout_s=30)
        await pictor.sandbox.settle()
        books = await account(pictor, pictor.sandbox)

        assert_the_load_was_what_it_should_be(books)
        assert problems(books) == []
        assert_every_send_is_recorded(books)
        assert_nothing_is_left(pictor)
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


def assert_the_load_was_what_it_should_be(books: Account) -> None:
    """Otherwise the rest would prove little: every fault struck, clients left, and most got their picture."""
    struck = Counter(fault.split(";")[0] for request in books.requests for fault in request.faults)
    outcomes = Counter(attempt.outcome for attempt in books.attempts)
    states = Counter(generation.state for generation in books.generations)

    assert set(struck) == {kind for kind, *_ in FAULTS}
    assert {"image", "rate_limited", "server_error", "unusable", "refused"} <= set(outcomes)
    assert states[Generation.STATE_SUCCEEDED] > CALLS / 2
    assert states[Generation.STATE_FAILED] > 0
    assert any(charge.client_disconnected is False for charge in books.charges)
    assert len(books.of_basis(REPORTED)) > CALLS / 2
    assert len(books.of_basis(UNKNOWN)) > 10


def assert_every_send_is_recorded(books: Account) -> None:
    """No process died, so what is recorded as sent was sent."""
    sends = Counter(request.prompt for request in books.requests)
    sent = Counter({g.request.prompt: sum(a.HasField("sent_time") for a in g.attempts) for g in books.generations})

    assert sends == +sent
    assert len({each.id for each in books.attempts}) == len(books.attempts)


def assert_nothing_is_left(pictor: Gateway) -> None:
    """No call in flight, and nobody waiting."""
    assert [(each.in_flight, each.waiting) for each in pictor.app.guards.status()] == [(0, 0), (0, 0)]
    assert pictor.app.jobs.running_count == 0


async def test_the_account_agrees_with_the_charge_log_however_often_the_gateway_is_killed(born, tmp_path):
    """Kill -9 at random moments under load, and a restart on the same data: nothing is lost, or paid for twice."""
    result = await random_kills(born, tmp_path, kills=5, at_once=12, seed=SEED)

    assert result.wrong == []
    assert result.figures["pictures downloaded"] > 0
