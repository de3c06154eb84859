"""The calls that make pictures, and `plan`, which says what one would do."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Unpack

from pictor.amounts import Usd, duration, money
from pictor.calls import Calls, Wish, collected
from pictor.events import Assembler, Event
from pictor.generation import Generation
from pictor.messages import PictureSource, RequestOptions, edit_request, request, set_item
from pictor.set_journey import SetJourney
from pictor.sets import SetEvent
from pictor.v1.image_pb2 import OnDisconnect
from pictor.v1.image_service_pb2 import (
    EditRequest,
    EditStreamRequest,
    GenerateRequest,
    GenerateSetRequest,
    GenerateStreamRequest,
    PlanRequest,
    PlanResponse,
    RerollRequest,
    SetItem,
)


class Drawing:
    """What ImageService offers."""

    _calls: Calls

    async def generate(
        self,
        prompt: str | GenerateRequest,
        *,
        timeout: float | None = None,
        fetch: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Draw new pictures and answer when all of them are done.

        Args:
            prompt: What to draw, or a whole request.
            timeout: Seconds to wait; unset means as long as the gateway lets the engines take.
            fetch: Whether to download pictures that are over `max_inline_bytes`.
            options: As in `RequestOptions`; enum values by short name (`tier="pro"`) or from the contract.

        Raises:
            PictorError: The gateway refused or failed.
            ValueError: An option cannot be put into the request.
        """
        message = self._with_id(request(prompt, **options))
        wish = _wish(message, timeout=timeout, fetch=fetch)
        return await self._fetched(await self._calls.join(self._calls.images.Generate, message, wish), fetch=fetch)

    async def edit(
        self,
        prompt: str | GenerateRequest | EditRequest,
        image: PictureSource | None = None,
        mask: PictureSource | None = None,
        *,
        timeout: float | None = None,
        fetch: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Change a given picture, as a whole or where the mask is transparent; otherwise as `generate`."""
        message = edit_request(prompt, image, mask, **options)
        wish = _wish(self._with_id(message.request), timeout=timeout, fetch=fetch)
        return await self._fetched(await self._calls.join(self._calls.images.Edit, message, wish), fetch=fetch)

    def stream(
        self,
        prompt: str | GenerateRequest | EditRequest,
        image: PictureSource | None = None,
        mask: PictureSource | None = None,
        *,
        timeout: float | None = None,
        fetch: bool = True,
        **options: Unpack[RequestOptions],
    ) -> AsyncIterator[Event]:
        """Draw, or change a given picture, and tell what happens on the way; `Completed` comes last.

        Previews and pictures come whole. A lost connection is taken up again once the generation is accepted.

        Raises:
            PictorError: The gateway refused or failed.
            ValueError: An option cannot be put into the request.
        """
        if isinstance(prompt, EditRequest) or image is not None or mask is not None:
            edit = edit_request(prompt, image, mask, **options)
            wish = _wish(self._with_id(edit.request), timeout=timeout, fetch=fetch)
            return self._follow(self._calls.images.EditStream, EditStreamRequest(request=edit), wish)
        message = self._with_id(request(prompt, **options))
        wish = _wish(message, timeout=timeout, fetch=fetch)
        return self._follow(self._calls.images.GenerateStream, GenerateStreamRequest(request=message), wish)

    async def reroll(
        self,
        generation_id: str,
        *,
        model: str | None = None,
        request_id: str | None = None,
        max_cost: Usd | None = None,
        on_disconnect: str | OnDisconnect.ValueType | None = None,
        timeout: float | None = None,
        fetch: bool = True,
    ) -> Generation:
        """Draw an earlier request again, on the other engine unless `model` is given, and answer when it is done.

        Raises:
            PictorError: The gateway refused or failed.
            ValueError: An option cannot be put into the request.
        """
        return await collected(
            self.stream_reroll(
                generation_id,
                model=model,
                request_id=request_id,
                max_cost=max_cost,
                preview_count=0,
                on_disconnect=on_disconnect,
                timeout=timeout,
                fetch=fetch,
            )
        )

    def stream_reroll(
        self,
        generation_id: str,
        *,
        model: str | None = None,
        request_id: str | None = None,
        max_cost: Usd | None = None,
        preview_count: int | None = None,
        on_disconnect: str | OnDisconnect.ValueType | None = None,
        timeout: float | None = None,
        fetch: bool = True,
    ) -> AsyncIterator[Event]:
        """Draw an earlier request again as `reroll`, and tell what happens on the way as `stream`."""
        message = RerollRequest(
            generation_id=generation_id,
            model=model or "",
            request_id=request_id or self._calls.new_id(),
            max_cost=None if max_cost is None else money(max_cost),
            preview_count=preview_count,
            on_disconnect=request(on_disconnect=on_disconnect).on_disconnect,
        )
        wish = Wish(message.request_id, max_inline_bytes=None, timeout=timeout, fetch=fetch)
        return self._follow(self._calls.images.Reroll, message, wish)

    async def generate_set(
        self,
        brief: str | GenerateRequest,
        items: Mapping[str, str] | Iterable[SetItem],
        models: Sequence[str] = (),
        *,
        timeout: float | None = None,
        fetch: bool = True,
        **options: Unpack[RequestOptions],
    ) -> AsyncIterator[SetEvent]:
        """Make many pictures from one brief; `SetSummary` comes last.

        A lost connection is taken up again, and each step still comes once. An item that had failed for nothing before
        is tried anew with it, so that its picture may come after its failure.

        Args:
            brief: What all items share.
            items: Prompts by key, or items made with `pictor.set_item`.
            models: Draw every item on each of these; empty lets the router decide.
            timeout: Seconds to wait for the whole set.
            fetch: Whether to download pictures that did not come with the stream.
            options: As for `generate`; `max_cost` and `request_id` bound the set.

        Raises:
            PictorError: The set was refused, or the connection was lost for good; what was sent goes on, and
                `metadata` names its `set_id` and `request_id`.
            ValueError: An option cannot be put into the request.
        """
        made = [set_item(key, prompt) for key, prompt in items.items()] if isinstance(items, Mapping) else items
        message = GenerateSetRequest(brief=request(brief, **options), items=made, models=models)
        self._with_id(message.brief)
        async with aclosing(SetJourney(self._calls, message, timeout, fetch=fetch).steps()) as steps:
            async for step in steps:
                yield step

    async def plan(
        self,
        prompt: str | GenerateRequest | EditRequest,
        image: PictureSource | None = None,
        mask: PictureSource | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> PlanResponse:
        """Answer what `generate` or `edit` would do, why, and for how much, and send nothing.

        Args:
            prompt: As for `generate` or `edit`.
            image: As for `edit`.
            mask: As for `edit`.
            timeout: Seconds that the real call would have.
            options: As for `generate`.

        Raises:
            PictorError: The request is not valid; everything later comes as `refusal` in the answer.
            ValueError: An option cannot be put into the request.
        """
        span = None if timeout is None else duration(timeout)
        if isinstance(prompt, EditRequest) or image is not None or mask is not None:
            message = PlanRequest(edit=edit_request(prompt, image, mask, **options), timeout=span)
        else:
            message = PlanRequest(generate=request(prompt, **options), timeout=span)
        return await self._calls.ask(self._calls.images.Plan, message)

    def _follow(self, method: Any, message: Any, wish: Wish) -> AsyncIterator[Event]:
        return self._calls.follow(partial(self._calls.stream, method, message), Assembler(), wish)

    def _with_id(self, message: GenerateRequest) -> GenerateRequest:
        message.request_id = message.request_id or self._calls.new_id()
        return message

    async def _fetched(self, generation: Generation, *, fetch: bool) -> Generation:
        if not fetch:
            return generation
        pictures = [p if p.data is not None else await self._calls.fetch(p.id) for p in generation.pictures]
        return Generation(generation.message, tuple(pictures))


def _wish(message: GenerateRequest, *, timeout: float | None, fetch: bool) -> Wish:
    bound = message.max_inline_bytes if message.HasField("max_inline_bytes") else None
    is_withdrawn = message.on_disconnect != OnDisconnect.ON_DISCONNECT_FINISH
    return Wish(message.request_id, bound, timeout, fetch, is_withdrawn_when_lost=is_withdrawn)
