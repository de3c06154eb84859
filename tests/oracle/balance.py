"""The gateway's account beside the engines' charge log: what does not agree, in sentences."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from gateway import Gateway
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1.generation_pb2 import Attempt, Generation
from pictord.sandbox import Charge, RequestRecord, Sandbox
from pictord.store.schema import hold

REPORTED, UNKNOWN = image.COST_BASIS_REPORTED, image.COST_BASIS_UNKNOWN
MAX_SENDS = 2
"""For one picture."""


@dataclass(frozen=True)
class Account:
    """Both sides, once nothing runs any more."""

    generations: list[Generation]
    spent_nanos: int
    """Under the daily cap, over all days."""
    open_holds: int
    charges: list[Charge]
    requests: list[RequestRecord]

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for generation in self.generations for attempt in generation.attempts]

    @property
    def charged_nanos(self) -> int:
        return sum(charge.nanos for charge in self.charges if charge.billed)

    @property
    def ledger_nanos(self) -> int:
        return sum(nanos(generation.cost) for generation in self.generations)

    def of_basis(self, basis: int) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.cost.basis == basis]


def nanos(cost: image.Cost) -> int:
    """An amount in nano-USD."""
    return cost.amount.units * 10**9 + cost.amount.nanos


async def account(pictor: Gateway, engines: Sandbox) -> Account:
    """What a gateway remembers, and what its engines charged, however many processes it was."""
    generations = [each async for each in listed(pictor)]
    days = {generation.create_time.ToDatetime().date().isoformat() for generation in generations}
    spent = sum([await pictor.app.store.spent(f"usd/{day}/global") for day in days])
    holds = await pictor.app.store._database.read(_open_holds)
    return Account(generations, spent, holds, list(engines.charges), list(engines.requests))


async def listed(pictor: Gateway) -> AsyncIterator[Generation]:
    """All generations."""
    token = None
    while token != "":
        page = await pictor.history.ListGenerations(
            history.ListGenerationsRequest(page_size=200, page_token=token or "")
        )
        token = page.next_page_token
        for generation in page.generations:
            yield generation


def _open_holds(connection: Connection) -> int:
    return connection.execute(select(func.count()).where(~hold.c.settled)).scalar_one()


def problems(books: Account) -> list[str]:
    """Everything that does not agree; a prompt is of one request alone."""
    return [*_sums(books), *_reported(books), *_charged(books), *_sent(books), *_ended(books)]


def _sums(books: Account) -> Iterator[str]:
    for each in books.generations:
        if nanos(each.cost) != sum(nanos(attempt.cost) for attempt in each.attempts):
            yield f"{each.id}: its cost is not the sum of its attempts'"
    if books.spent_nanos != books.ledger_nanos:
        yield f"{books.spent_nanos} is spent under the daily cap, all generations cost {books.ledger_nanos}"
    if books.ledger_nanos < books.charged_nanos:
        yield f"{books.charged_nanos} was charged, only {books.ledger_nanos} is in the ledger"
    if books.open_holds:
        yield f"{books.open_holds} holds are open though nothing runs"


def _reported(books: Account) -> Iterator[str]:
    """What is reported is what was charged."""
    billed = {charge.request_id: charge.nanos for charge in books.charges if charge.billed}
    for each in books.of_basis(REPORTED):
        if nanos(each.cost) != billed.get(each.provider_request_id, 0):
            yield f"{each.id}: reported {nanos(each.cost)}, charged {billed.get(each.provider_request_id)}"
    names = Counter(each.provider_request_id for each in books.attempts if each.provider_request_id)
    yield from (f"{name} is in {count} attempts" for name, count in names.items() if count > 1)


def _charged(books: Account) -> Iterator[str]:
    """Nothing is charged that the ledger does not hold, and nothing twice."""
    prompts = {request.number: request.prompt for request in books.requests}
    charged: dict[str, int] = defaultdict(int)
    for charge in books.charges:
        charged[prompts[charge.request_number]] += charge.nanos if charge.billed else 0
    held: dict[str, int] = defaultdict(int)
    for each in books.generations:
        held[each.request.prompt] += nanos(each.cost)
    for prompt, amount in charged.items():
        if amount > held[prompt]:
            yield f"{prompt!r}: {amount} was charged, {held[prompt]} is in the ledger"
    for number, count in Counter(charge.request_number for charge in books.charges).items():
        if count > 1:
            yield f"request {number} was charged {count} times"


def _sent(books: Account) -> Iterator[str]:
    """Nothing is sent without its record, at most two sends for a picture, no request id for a second generation."""
    sends = Counter(request.prompt for request in books.requests)
    recorded, allowed, paid_twice = Counter[str](), Counter[str](), Counter[str]()
    for each in books.generations:
        sent = sum(attempt.HasField("sent_time") for attempt in each.attempts)
        recorded[each.request.prompt] += sent
        allowed[each.request.prompt] += MAX_SENDS * len(each.outputs)
        paid_twice[each.request.prompt] += bool(sent)
    for prompt, count in sends.items():
        if count > min(recorded[prompt], allowed[prompt]):
            yield f"{prompt!r}: sent {count} times, {recorded[prompt]} are recorded, {allowed[prompt]} allowed"
    yield from (f"{prompt!r}: {count} generations were sent" for prompt, count in paid_twice.items() if count > 1)


def _ended(books: Account) -> Iterator[str]:
    final = {Generation.STATE_SUCCEEDED, Generation.STATE_FAILED, Generation.STATE_CANCELLED}
    yield from (f"{each.id} has not ended" for each in books.generations if each.state not in final)
    for each in books.generations:
        if (each.state == Generation.STATE_SUCCEEDED) != any(output.HasField("image") for output in each.outputs):
            yield f"{each.id}: its state does not say whether it has a picture"


async def lost_pictures(pictor: Gateway, generations: list[Generation]) -> list[str]:
    """The pictures of the records that cannot be downloaded as they were drawn."""
    lost = []
    for picture in (each.image for generation in generations for each in generation.outputs if each.HasField("image")):
        chunks = pictor.history.DownloadImage(history.DownloadImageRequest(image_id=picture.id))
        data = b"".join([message.chunk.data async for message in chunks])
        if (hashlib.sha256(data).hexdigest(), len(data)) != (picture.sha256, picture.size_bytes):
            lost.append(f"{picture.id} is not what was drawn")
    return lost
