"""One set's way over as many connections as it takes: it is asked for again, and what was told is not told twice.

The gateway derives a set's id and its members' from the `request_id`: the same set under the same one joins or replays
every member, so that nothing is drawn or paid twice. That holds while the gateway remembers; one that was restarted
without its memory would draw, and pay, anew. So the set is asked for again only if the gateway still lists every
generation of it that was seen. Otherwise the lost connection is the error, and says where to look.

To the gateway a lost connection looks as if we had left: unless the brief says to finish, it cancels what was not sent,
for nothing. Such an end is not told either; the set is asked for once more, which draws what was cancelled.
"""

import time
from collections.abc import AsyncGenerator

import grpc

from pictor.calls import Calls, ended_early
from pictor.errors import UNREACHABLE, PictorError
from pictor.sets import SetAssembler, SetEvent, SetStep
from pictor.v1.history_service_pb2 import ListGenerationsRequest
from pictor.v1.image_pb2 import OnDisconnect
from pictor.v1.image_service_pb2 import GenerateSetRequest

_PAGE = 200


class SetJourney:
    """Follows one set.

    Args:
        calls: Carry it.
        message: The set, with a `request_id`; what is changed here is a copy.
        timeout: Seconds for all of it; None means as long as it takes.
        fetch: Whether to download pictures whose bytes do not come with the stream.
    """

    def __init__(self, calls: Calls, message: GenerateSetRequest, timeout: float | None, *, fetch: bool) -> None:
        self._calls = calls
        self._message = GenerateSetRequest()
        self._message.CopyFrom(message)
        self._fetch = fetch
        self._seen = SetAssembler()
        self._reconnect = calls.reconnect()
        self._is_lost = False
        self._began_at = time.monotonic()
        self._ends_at = None if timeout is None else self._began_at + timeout

    async def steps(self) -> AsyncGenerator[SetEvent]:
        """Every step of the set once, the summary last.

        Raises:
            PictorError: The set was refused, or its connection was lost for good; then `metadata` names `set_id` and
                `request_id`.
        """
        while True:
            call = self._calls.stream(self._calls.images.GenerateSet, self._message, self._left())
            try:
                async for response in call:
                    for step in self._seen.feed(response):
                        self._reconnect.progress()
                        yield await self._with_bytes(step)
                error = ended_early("set")
            except grpc.RpcError as failed:
                error = self._calls.failed(failed)
            finally:
                call.cancel()
            if self._seen.is_over and not self._seen.is_withdrawn:
                return
            if self._seen.is_over:
                self._seen.interrupt(withdraws=False)
            else:
                await self._go_on(error)
                self._seen.interrupt(withdraws=self._message.brief.on_disconnect != OnDisconnect.ON_DISCONNECT_FINISH)
            if self._fetch:  # or all bytes would come again; a download goes on where it broke
                self._message.brief.max_inline_bytes = 0

    async def _with_bytes(self, step: SetEvent) -> SetEvent:
        if not (self._fetch and isinstance(step, SetStep)):
            return step
        try:
            return SetStep(step.raw, await self._calls.with_bytes(step.event))
        except PictorError as error:
            raise self._unfinished(error) from None

    async def _go_on(self, error: PictorError) -> None:
        """Return when it is time to ask for the set again, which the gateway remembers.

        Raises:
            PictorError: There is no use in that. It is `error`, or what went wrong later.
        """
        error.about(self._request_id, time.monotonic() - self._began_at)
        set_id = self._seen.set_id or error.metadata.get("set_id", "")
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise self._unfinished(error)
        was_taken = self._is_lost or bool(set_id)
        if not error.is_lost or (not was_taken and (error.is_absent or error.reason != UNREACHABLE)):
            raise error  # refused, or nobody was there
        self._seen.set_id, self._is_lost = set_id, True
        if not set_id:
            raise self._unfinished(error)
        await self._wait(error)
        while True:
            try:
                listed = await self._listed()
            except PictorError as failed:
                if not failed.is_lost:
                    raise self._unfinished(error) from failed
                await self._wait(failed)
                continue
            if listed and self._seen.generation_ids <= listed:
                return
            if self._seen.generation_ids:
                raise self._unfinished(error, is_forgotten=True)
            await self._wait(error, is_forgotten=True)  # it may be about to open the first one

    async def _wait(self, error: PictorError, *, is_forgotten: bool = False) -> None:
        """Wait until the next try is due; `is_forgotten` is what is said of the set if there is none."""
        try:
            await self._reconnect.wait(error)
        except PictorError as last:
            raise self._unfinished(last, is_forgotten=is_forgotten) from None

    async def _listed(self) -> set[str]:
        """The generations of the set that the gateway knows."""
        found, token = set[str](), ""
        while True:
            message = ListGenerationsRequest(set_id=self._seen.set_id, page_size=_PAGE, page_token=token)
            page = await self._calls.ask(self._calls.history.ListGenerations, message)
            found |= {each.id for each in page.generations}
            token = page.next_page_token
            if not token:
                return found

    def _unfinished(self, error: PictorError, *, is_forgotten: bool = False) -> PictorError:
        """The same error, with where to look for what may be made and paid."""
        set_id, request_id = self._seen.set_id, self._request_id
        if is_forgotten:
            error.forget(f"set {set_id}", "what was made")
        elif set_id:
            error.message += f"; what was sent goes on: look for set {set_id}"
        else:
            error.message += "; it is unknown whether the set was accepted"
        error.message += f" (request_id {request_id})"
        error.request_id, error.paid = request_id, True
        named = {"set_id": set_id} if set_id else {}
        error.metadata = {**error.metadata, **named, "request_id": request_id}
        return error

    @property
    def _request_id(self) -> str:
        return self._message.brief.request_id

    def _left(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())
