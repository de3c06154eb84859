"""What the sandbox remembers: every request it got and every call it charged for.

The charge log is the truth of every money test. A call that reached a provider has exactly one charge; `billed`
says whether it costs anything and `why` says the reason in words.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar, overload

from pictord.sandbox.usage import Usage


@dataclass
class RequestRecord:
    """One HTTP request as it arrived, without its secrets."""

    number: int
    time: float
    provider: str
    operation: str
    """`generate` or `edit`."""
    path: str
    headers: dict[str, str]
    account: str
    """A short hash of the API key; empty without one."""
    params: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    """The prompt's parts, each exactly as it arrived."""
    prompt: str = ""
    """All parts, joined by line breaks."""
    prompt_sha256: str = ""
    image_sha256: list[str] = field(default_factory=list)
    image_mime: list[str] = field(default_factory=list)
    mask_sha256: str | None = None
    model: str = ""
    stream: bool = False
    status: int | None = None
    """The HTTP status answered; None while the call runs, or when none was ever sent."""
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The record as plain data."""
        return asdict(self)


@dataclass
class Charge:
    """One call as the provider's invoice would know it."""

    id: str
    provider: str
    model: str
    operation: str
    request_id: str
    """`x-request-id` (OpenAI) or `responseId` (Gemini)."""
    request_number: int
    usage: Usage
    """Tokens that are charged; all zero if nothing is billed."""
    nanos: int
    """Nano-USD by the sandbox's own price table."""
    billed: bool
    why: str
    time: float
    client_disconnected: bool = False

    def as_json(self) -> dict[str, Any]:
        """The charge as plain data."""
        return asdict(self)


Entry = TypeVar("Entry")


class Journal(Sequence[Entry], Generic[Entry]):
    """A list that only grows until it is cleared, and on whose growth one can wait."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def append(self, entry: Entry) -> None:
        """Add `entry` and wake whoever waited for that many."""
        self._entries.append(entry)
        for count, waiter in self._waiters:
            if count <= len(self._entries) and not waiter.done():
                waiter.set_result(None)
        self._waiters = [(count, waiter) for count, waiter in self._waiters if not waiter.done()]

    async def reach(self, count: int) -> None:
        """Return as soon as there are at least `count` entries."""
        if len(self._entries) >= count:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((count, waiter))
        await waiter

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)
