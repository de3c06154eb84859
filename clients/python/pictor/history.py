"""The calls about what was made: look it up, follow it, fetch it, judge it, delete it; and uploads."""

import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

from pictor import enums, picture_file
from pictor.calls import Calls, Wish
from pictor.events import Assembler, Event
from pictor.generation import Generation, Picture
from pictor.messages import HistoryFilter, list_request
from pictor.v1 import history_service_pb2 as messages
from pictor.v1.image_pb2 import Image

_DELETE_TIMEOUT_S = 600.0
"""Everything of a caller may be very much."""


class History:
    """What HistoryService offers."""

    _calls: Calls

    async def get(self, generation_id: str | None = None, *, request_id: str | None = None) -> Generation:
        """Look up one generation by its id or by your own `request_id`; pictures without bytes."""
        message = messages.GetGenerationRequest()
        if request_id is not None:
            message.request_id = request_id
        else:
            message.generation_id = generation_id or ""
        answer = await self._calls.ask(self._calls.history.GetGeneration, message)
        return Generation.of(answer.generation)

    async def history_page(
        self, *, page_size: int = 0, page_token: str = "", **filters: Unpack[HistoryFilter]
    ) -> messages.ListGenerationsResponse:
        """One page of generations, newest first, as the gateway sends it; the filters hold together.

        Raises:
            PictorError: Another caller's history, or a page token of other filters.
            ValueError: A filter cannot be put into the request.
        """
        message = list_request(page_size, page_token, **filters)
        return await self._calls.ask(self._calls.history.ListGenerations, message)

    async def history(self, **filters: Unpack[HistoryFilter]) -> AsyncIterator[Generation]:
        """All generations that match, newest first, page after page; otherwise as `history_page`."""
        token = ""
        while True:
            page = await self.history_page(page_token=token, **filters)
            for message in page.generations:
                yield Generation.of(message)
            token = page.next_page_token
            if not token:
                return

    def watch(
        self,
        generation_id: str,
        after_sequence: int = 0,
        *,
        max_inline_bytes: int | None = None,
        timeout: float | None = None,
        fetch: bool = True,
    ) -> AsyncIterator[Event]:
        """Follow a generation from the beginning, or from after an event that was seen; survives lost connections.

        Raises:
            PictorError: It does not exist, or it failed.
        """
        assembler = Assembler(after_sequence)
        assembler.generation_id = generation_id
        wish = Wish(None, max_inline_bytes, timeout, fetch)
        return self._calls.follow(partial(self._calls.watch, assembler, max_inline_bytes), assembler, wish)

    async def cancel(self, generation_id: str) -> Generation:
        """Stop what was not sent yet; what was sent is paid for, finishes and is stored."""
        message = messages.CancelGenerationRequest(generation_id=generation_id)
        answer = await self._calls.ask(self._calls.history.CancelGeneration, message)
        return Generation.of(answer.generation)

    async def compare(
        self, *generation_ids: str, lineage_of: str = "", set_id: str = ""
    ) -> messages.CompareGenerationsResponse:
        """Put generations side by side: 2 to 8 by id, the family of one with all its re-rolls, or a set.

        Raises:
            PictorError: One of them does not exist, or they are named in more than one way.
        """
        message = messages.CompareGenerationsRequest(
            generation_ids=generation_ids, lineage_of=lineage_of, set_id=set_id
        )
        return await self._calls.ask(self._calls.history.CompareGenerations, message)

    async def rate(
        self,
        generation_id: str,
        thumb: str | messages.Thumb.ValueType | None = None,
        *,
        won_over: Sequence[str] = (),
        text: str = "",
    ) -> messages.Rating:
        """Say what you think of a picture: `up` or `down`, or the ids that it won over; your last rating counts.

        Raises:
            PictorError: It still runs or has no picture, or one of the ids does not exist.
            ValueError: There is no such thumb.
        """
        message = messages.RateGenerationRequest(
            generation_id=generation_id, thumb=_thumb_number(thumb), won_over_ids=won_over, text=text
        )
        return (await self._calls.ask(self._calls.history.RateGeneration, message)).rating

    async def delete(
        self, *generation_ids: str, end_user: str = "", everything: bool = False, caller: str = ""
    ) -> messages.DeleteGenerationsResponse:
        """Delete for ever: these generations, all of an end user, or everything; what still runs is left and named.

        Raises:
            PictorError: An id never was, or it is another caller's.
        """
        message = messages.DeleteGenerationsRequest(
            generation_ids=generation_ids, end_user=end_user, everything=everything, caller=caller
        )
        return await self._calls.ask(self._calls.history.DeleteGenerations, message, _DELETE_TIMEOUT_S)

    async def download(self, image_id: str) -> Picture:
        """Fetch a picture, going on where a lost connection left it, and check its SHA-256.

        Raises:
            PictorError: There is no such picture, the gateway stayed away, or the bytes arrived damaged (DATA_LOSS).
        """
        data = bytearray()
        image = await self._calls.download(image_id, data.extend)
        return Picture(image, bytes(data))

    async def download_to(self, image_id: str, path: str | os.PathLike[str]) -> Path:
        """Fetch a picture into a file as `download`, chunk by chunk; the file is there when all of it is, and right.

        Raises:
            PictorError: As `download`.
            OSError: The file cannot be written.
        """
        target = Path(path)
        with picture_file.whole_file(target) as file:
            await self._calls.download(image_id, file.write)
        return target

    async def upload(self, source: bytes | os.PathLike[str] | str) -> Image:
        """Bring a picture (bytes, or the path of a file) and answer its description; its `id` is an `image_id`.

        Raises:
            PictorError: It is not a usable picture; one over 20 MiB is not sent at all.
            OSError: The file cannot be read.
        """
        data = source if isinstance(source, bytes) else picture_file.read_upload(source)
        picture_file.check_size(len(data))
        return await self._calls.upload(data)


def _thumb_number(thumb: str | int | None) -> "messages.Thumb.ValueType":
    return messages.Thumb.ValueType(0 if thumb is None else enums.number(messages.Thumb.DESCRIPTOR, thumb))
