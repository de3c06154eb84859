"""One call's way over as many connections as it takes: when to go on, when to send again, when to give up.

A generation goes on while its reader is away, so a lost connection is followed by WatchGeneration. If the call broke
before its id came back, its `request_id` tells whether it was accepted.

Sending a call again may pay again: a gateway that does not know a generation may have been restarted and have forgotten
it. So that is done only after the gateway itself said that the generation ended and nothing was spent. Everything else
ends with the error of the lost connection, which says that the outcome is unknown.

Not handled: what gRPC itself repeats before all this (service_config.json), a call of which not even the id came back.
If nobody is there any more at such a repeat, gRPC tells of that alone, and the call counts as never sent.
"""

import time
from collections.abc import Awaitable, Callable

import grpc

from pictor.errors import SHUTTING_DOWN, UNREACHABLE, PictorError
from pictor.reconnect import Reconnect

_CANCELLED = "CANCELLED"

Find = Callable[[str, float | None], Awaitable[str]]
"""Asks the gateway for the id of the generation with a `request_id`, for so many seconds."""


class Journey:
    """Keeps the time that is left, the tries, and the last connection that was lost."""

    def __init__(self, reconnect: Reconnect, find: Find, request_id: str | None, timeout: float | None) -> None:
        self._reconnect = reconnect
        self._find = find
        self._request_id = request_id
        self._lost: PictorError | None = None
        self._began_at = time.monotonic()
        self._ends_at = None if timeout is None else self._began_at + timeout

    def left(self) -> float | None:
        """Seconds left; None without a timeout."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def progress(self) -> None:
        """Something arrived: count the tries anew."""
        self._reconnect.progress()

    async def go_on(self, error: PictorError, generation_id: str | None) -> str:
        """Wait until it is time to watch the generation of a lost call, and answer its id.

        Args:
            error: What the call or the last try ended with.
            generation_id: Names the generation, if that is known.

        Raises:
            PictorError: There is nothing to watch. It is `error`, or the lost connection that went before it.
        """
        error.about(self._request_id, time.monotonic() - self._began_at)
        if error.is_absent and (self._is_first(generation_id) or not self._reconnect.is_reached):
            raise error  # nobody was there to take the call, or to be asked about a generation
        if self._lost is not None and error.code is grpc.StatusCode.NOT_FOUND:
            self._lost.forget(f"generation {self._lost.generation_id}", "whether it was made")
            raise self._lost from None
        known = error.generation_id = generation_id or error.generation_id
        if not error.is_lost:
            raise error
        known = error.generation_id = known or await self._accepted_as(error)
        error.paid = True
        await self._reconnect.wait(error)
        self._lost = error
        return known

    async def send_again(self, error: PictorError, *, is_withdrawn_when_lost: bool) -> None:
        """Wait until the call may be sent again, free of charge.

        Args:
            error: How the generation ended.
            is_withdrawn_when_lost: Whether CANCELLED after a lost connection is our doing, and nobody's wish.

        Raises:
            PictorError: `error` itself, unless it ended unpaid because its server went away, or we seemed to.
        """
        we_seemed_gone = error.reason == _CANCELLED and is_withdrawn_when_lost and self._lost is not None
        if error.paid or not error.is_end or not (we_seemed_gone or error.reason == SHUTTING_DOWN):
            raise error
        self._lost = None
        await self._reconnect.wait_again(error)

    def _is_first(self, generation_id: str | None) -> bool:
        """Whether nothing of this call is under way anywhere."""
        return self._lost is None and generation_id is None

    async def _accepted_as(self, lost: PictorError) -> str:
        if lost.reason != UNREACHABLE or self._request_id is None:
            raise lost  # refused, not accepted
        try:
            found = await self._find(self._request_id, self.left())
        except PictorError as error:
            raise _unknown(lost, self._request_id) from error
        self.progress()
        return found


def _unknown(lost: PictorError, request_id: str) -> PictorError:
    lost.message += f"; it is unknown whether the call was accepted: look for its request_id {request_id}"
    lost.paid = True
    lost.metadata = {**lost.metadata, "request_id": request_id}
    return lost
