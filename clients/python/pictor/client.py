"""The asyncio client: one method for each RPC, whole pictures, one kind of error, and no lost generation.

Every generating call gets a `request_id` unless it has one, so that it can be repeated without paying twice. Once a
generation is accepted, a lost connection is no failure: calls and streams go on with WatchGeneration.
"""

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from pictor import enums, picture_file
from pictor.amounts import Usd, duration, money
from pictor.calls import Calls, Wish
from pictor.channel import Target, open_channel
from pictor.errors import PictorError
from pictor.events import Assembler, Event
from pictor.generation import Generation, Picture
from pictor.messages import (
    HistoryFilter,
    PictureSource,
    RequestOptions,
    edit_request,
    list_request,
    request,
    set_item,
    timestamp,
)
from pictor.reconnect import Reconnect
from pictor.sets import SetAssembler, SetEvent, SetStep
from pictor.transfer import upload_parts
from pictor.v1 import catalog_service_pb2 as catalog
from pictor.v1 import (
    catalog_service_pb2_grpc,
    history_service_pb2_grpc,
    image_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_service_pb2 as images
from pictor.v1 import usage_service_pb2 as usage_pb2
from pictor.v1.image_pb2 import Image as ImageMessage
from pictor.v1.image_pb2 import OnDisconnect

_READ_TIMEOUT_S = 30.0
"""For calls that only look something up."""

_DELETE_TIMEOUT_S = 600.0
"""Everything of a caller may be very much."""


_Start = Callable[..., "grpc.aio.UnaryStreamCall[Any, Any]"]
"""Opens a generation's stream; what is left to say is `timeout` and `metadata`."""


class Client:
    """A connection to one gateway; make it inside a running event loop and use it as an async context manager.

    After a lost connection a generation is followed by its id or `request_id`; its call is sent again only if the
    gateway says that it ended for nothing. A gateway that does not know it may have been restarted: then the lost
    connection is raised (UNAVAILABLE, `paid`), with a message that says what is unknown.

    Args:
        address: `host:port`, or `https://host:port` for TLS; unset means PICTOR_ADDRESS, then `127.0.0.1:50051`.
        api_key: Sent as bearer token; unset means PICTOR_API_KEY, then none.
        tls: True for TLS with the system's roots, or credentials of your own.
        metadata: Sent with every call, e.g. `x-sandbox-*` for the simulated engines.
        options: gRPC channel options on top of ours.
        on_lost: Told when a connection is lost and will be tried again; the first time, not of every try.
        sleep: Waits between tries after a lost connection.
        jitter: Spreads those waits; a number from 0 to 1.
        new_id: Makes a `request_id` for calls that have none.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        tls: bool | grpc.ChannelCredentials = False,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple[str, Any]] = (),
        on_lost: Callable[[PictorError], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        target = Target.parse(address)
        self.address = target.address
        key = api_key or os.environ.get("PICTOR_API_KEY")
        identity = (("authorization", f"Bearer {key}"),) if key else ()
        self._new_id = new_id
        self._channel = open_channel(target, tls=tls, options=options)
        self._calls = Calls(self._channel, (*identity, *metadata), lambda: Reconnect(sleep, jitter, on_lost))
        self._images = image_service_pb2_grpc.ImageServiceStub(self._channel)
        self._history = history_service_pb2_grpc.HistoryServiceStub(self._channel)
        self._usage = usage_service_pb2_grpc.UsageServiceStub(self._channel)
        self._catalog = catalog_service_pb2_grpc.CatalogServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()

    # --- making pictures

    async def generate(
        self,
        prompt: str | images.GenerateRequest,
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
        return await self._fetched(await self._calls.join(self._images.Generate, message, wish), fetch=fetch)

    async def edit(
        self,
        prompt: str | images.GenerateRequest | images.EditRequest,
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
        return await self._fetched(await self._calls.join(self._images.Edit, message, wish), fetch=fetch)

    def stream(
        self,
        prompt: str | images.GenerateRequest | images.EditRequest,
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
        if isinstance(prompt, images.EditRequest) or image is not None or mask is not None:
            edit = edit_request(prompt, image, mask, **options)
            message = self._with_id(edit.request)
            start: _Start = partial(self._images.EditStream, images.EditStreamRequest(request=edit))
        else:
            message = self._with_id(request(prompt, **options))
            start = partial(self._images.GenerateStream, images.GenerateStreamRequest(request=message))
        return self._follow(start, _wish(message, timeout=timeout, fetch=fetch))

    def reroll(
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
        """Draw an earlier request again, on the other engine unless `model` is given; the events are those of `stream`.

        Raises:
            PictorError: The gateway refused or failed.
            ValueError: An option cannot be put into the request.
        """
        message = images.RerollRequest(
            generation_id=generation_id,
            model=model or "",
            request_id=request_id or self._new_id(),
            max_cost=None if max_cost is None else money(max_cost),
            preview_count=preview_count,
            on_disconnect=request(on_disconnect=on_disconnect).on_disconnect,
        )
        wish = Wish(message.request_id, max_inline_bytes=None, timeout=timeout, fetch=fetch)
        return self._follow(partial(self._images.Reroll, message), wish)

    async def generate_set(
        self,
        brief: str | images.GenerateRequest,
        items: Mapping[str, str] | Iterable[images.SetItem],
        models: Sequence[str] = (),
        *,
        timeout: float | None = None,
        fetch: bool = True,
        **options: Unpack[RequestOptions],
    ) -> AsyncIterator[SetEvent]:
        """Make many pictures from one brief; `SetSummary` comes last.

        Args:
            brief: What all items share.
            items: Prompts by key, or items made with `pictor.set_item`.
            models: Draw every item on each of these; empty lets the router decide.
            timeout: Seconds to wait for the whole set.
            fetch: Whether to download pictures that did not come with the stream.
            options: As for `generate`; `max_cost` and `request_id` bound the set.

        Raises:
            PictorError: The set was refused, or the connection was lost; its generations go on (`list(set_id=...)`).
            ValueError: An option cannot be put into the request.
        """
        made = [set_item(key, prompt) for key, prompt in items.items()] if isinstance(items, Mapping) else items
        message = images.GenerateSetRequest(brief=request(brief, **options), items=made, models=models)
        self._with_id(message.brief)
        call = self._images.GenerateSet(message, timeout=timeout, metadata=self._calls.metadata)
        assembler, clock = SetAssembler(), asyncio.get_running_loop().time
        began_at = clock()
        try:
            async for response in call:
                for step in assembler.feed(response):
                    if fetch and isinstance(step, SetStep):
                        yield SetStep(step.raw, await self._calls.with_bytes(step.event))
                    else:
                        yield step
        except grpc.aio.AioRpcError as failure:
            error = PictorError.from_rpc(failure)
            error.about(message.brief.request_id, clock() - began_at)
            raise error from failure
        finally:
            call.cancel()

    async def plan(
        self,
        prompt: str | images.GenerateRequest | images.EditRequest,
        image: PictureSource | None = None,
        mask: PictureSource | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> images.PlanResponse:
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
        if isinstance(prompt, images.EditRequest) or image is not None or mask is not None:
            message = images.PlanRequest(edit=edit_request(prompt, image, mask, **options), timeout=span)
        else:
            message = images.PlanRequest(generate=request(prompt, **options), timeout=span)
        return await self._calls.ask(self._images.Plan, message, _READ_TIMEOUT_S)

    # --- what was made

    async def get(self, generation_id: str | None = None, *, request_id: str | None = None) -> Generation:
        """Look up one generation by its id or by your own `request_id`; pictures without bytes."""
        message = history.GetGenerationRequest()
        if request_id is not None:
            message.request_id = request_id
        else:
            message.generation_id = generation_id or ""
        answer = await self._calls.ask(self._history.GetGeneration, message, _READ_TIMEOUT_S)
        return Generation.of(answer.generation)

    async def list_page(
        self, *, page_size: int = 0, page_token: str = "", **filters: Unpack[HistoryFilter]
    ) -> history.ListGenerationsResponse:
        """One page of generations, newest first, as the gateway sends it; the filters hold together.

        Raises:
            PictorError: Another caller's history, or a page token of other filters.
            ValueError: A filter cannot be put into the request.
        """
        message = list_request(page_size, page_token, **filters)
        return await self._calls.ask(self._history.ListGenerations, message, _READ_TIMEOUT_S)

    async def list(self, **filters: Unpack[HistoryFilter]) -> AsyncIterator[Generation]:
        """All generations that match, newest first, page after page; otherwise as `list_page`."""
        token = ""
        while True:
            page = await self.list_page(page_token=token, **filters)
            for message in page.generations:
                yield Generation.of(message)
            token = page.next_page_token
            if not token:
                return

    async def compare(
        self, *generation_ids: str, lineage_of: str = "", set_id: str = ""
    ) -> history.CompareGenerationsResponse:
        """Put generations side by side: 2 to 8 by id, the family of one with all its re-rolls, or a set.

        Raises:
            PictorError: One of them does not exist, or they are named in more than one way.
        """
        message = history.CompareGenerationsRequest(generation_ids=generation_ids, lineage_of=lineage_of, set_id=set_id)
        return await self._calls.ask(self._history.CompareGenerations, message, _READ_TIMEOUT_S)

    async def rate(
        self,
        generation_id: str,
        thumb: str | history.Thumb.ValueType | None = None,
        *,
        won_over: Sequence[str] = (),
        text: str = "",
    ) -> history.Rating:
        """Say what you think of a picture: `up` or `down`, or the ids that it won over; your last rating counts.

        Raises:
            PictorError: It still runs or has no picture, or one of the ids does not exist.
            ValueError: There is no such thumb.
        """
        message = history.RateGenerationRequest(
            generation_id=generation_id, thumb=_thumb_number(thumb), won_over_ids=won_over, text=text
        )
        return (await self._calls.ask(self._history.RateGeneration, message, _READ_TIMEOUT_S)).rating

    async def scorecard(
        self, *, start_time: datetime | None = None, end_time: datetime | None = None, caller: str = ""
    ) -> usage_pb2.GetScorecardResponse:
        """Wins, thumbs, cost and latency by workflow and model; the last 30 days unless told otherwise.

        Raises:
            PictorError: Another caller's scorecard, or an end that is not after the start.
        """
        message = usage_pb2.GetScorecardRequest(
            start_time=None if start_time is None else timestamp(start_time),
            end_time=None if end_time is None else timestamp(end_time),
            caller=caller,
        )
        return await self._calls.ask(self._usage.GetScorecard, message, _READ_TIMEOUT_S)

    async def usage(
        self,
        *group_by: str | usage_pb2.UsageGroup.ValueType,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        caller: str = "",
        unknown_only: bool = False,
    ) -> usage_pb2.GetUsageResponse:
        """What was spent, grouped by e.g. `provider`, `day`; this month unless told otherwise.

        Raises:
            PictorError: Another caller's usage, or an end that is not after the start.
            ValueError: There is no such group.
        """
        message = usage_pb2.GetUsageRequest(
            group_by=[
                usage_pb2.UsageGroup.ValueType(enums.number(usage_pb2.UsageGroup.DESCRIPTOR, each)) for each in group_by
            ],
            start_time=None if start_time is None else timestamp(start_time),
            end_time=None if end_time is None else timestamp(end_time),
            caller=caller,
            unknown_only=unknown_only,
        )
        return await self._calls.ask(self._usage.GetUsage, message, _READ_TIMEOUT_S)

    async def budgets(self) -> Sequence[usage_pb2.BudgetStatus]:
        """The budgets in force, with what is counted under them now.

        Raises:
            PictorError: You are no operator.
        """
        message = usage_pb2.ListBudgetsRequest()
        return (await self._calls.ask(self._usage.ListBudgets, message, _READ_TIMEOUT_S)).budgets

    async def set_budget(self, budget: usage_pb2.Budget) -> usage_pb2.BudgetStatus:
        """Set a budget, or replace the one of its id; `messages.budget` builds one from plain values.

        Raises:
            PictorError: You are no operator, or a field is wrong.
        """
        message = usage_pb2.SetBudgetRequest(budget=budget)
        return (await self._calls.ask(self._usage.SetBudget, message, _READ_TIMEOUT_S)).budget

    async def delete_budget(self, budget_id: str) -> None:
        """Remove a budget.

        Raises:
            PictorError: You are no operator, or nobody set it.
        """
        message = usage_pb2.DeleteBudgetRequest(budget_id=budget_id)
        await self._calls.ask(self._usage.DeleteBudget, message, _READ_TIMEOUT_S)

    async def alerts(
        self, *, page_size: int = 0, page_token: str = "", start_time: datetime | None = None
    ) -> usage_pb2.ListAlertsResponse:
        """One page of alerts, newest first.

        Raises:
            PictorError: You are no operator.
        """
        message = usage_pb2.ListAlertsRequest(
            page_size=page_size,
            page_token=page_token,
            start_time=None if start_time is None else timestamp(start_time),
        )
        return await self._calls.ask(self._usage.ListAlerts, message, _READ_TIMEOUT_S)

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
        message = history.CancelGenerationRequest(generation_id=generation_id)
        answer = await self._calls.ask(self._history.CancelGeneration, message, _READ_TIMEOUT_S)
        return Generation.of(answer.generation)

    async def delete(
        self, *generation_ids: str, end_user: str = "", everything: bool = False, caller: str = ""
    ) -> history.DeleteGenerationsResponse:
        """Delete for ever: these generations, all of an end user, or everything; what still runs is left and named.

        Raises:
            PictorError: An id never was, or it is another caller's.
        """
        message = history.DeleteGenerationsRequest(
            generation_ids=generation_ids, end_user=end_user, everything=everything, caller=caller
        )
        return await self._calls.ask(self._history.DeleteGenerations, message, _DELETE_TIMEOUT_S)

    async def download(self, image_id: str) -> Picture:
        """Fetch a picture, going on where a lost connection left it, and check its SHA-256.

        Raises:
            PictorError: There is no such picture, the gateway stayed away, or the bytes arrived damaged (DATA_LOSS).
        """
        return await self._calls.download(image_id)

    async def upload(self, source: bytes | os.PathLike[str] | str) -> ImageMessage:
        """Bring a picture (bytes, or the path of a file) and answer its description; its `id` is an `image_id`.

        Raises:
            PictorError: It is not a usable picture; one over 20 MiB is not sent at all.
            OSError: The file cannot be read.
        """
        data = source if isinstance(source, bytes) else await asyncio.to_thread(picture_file.read_upload, source)
        picture_file.check_size(len(data))
        try:
            return (await self._history.UploadImage(upload_parts(data), metadata=self._calls.metadata)).image
        except grpc.aio.AioRpcError as failure:
            raise PictorError.from_rpc(failure) from failure

    # --- what there is

    async def models(self) -> catalog.ListModelsResponse:
        """The models of the catalog, with capabilities and prices."""
        message = catalog.ListModelsRequest()
        return await self._calls.ask(self._catalog.ListModels, message, _READ_TIMEOUT_S)

    async def formats(self) -> catalog.ListFormatsResponse:
        """The named formats."""
        message = catalog.ListFormatsRequest()
        return await self._calls.ask(self._catalog.ListFormats, message, _READ_TIMEOUT_S)

    async def providers(self) -> catalog.ListProvidersResponse:
        """The providers, and how they are doing."""
        message = catalog.ListProvidersRequest()
        return await self._calls.ask(self._catalog.ListProviders, message, _READ_TIMEOUT_S)

    async def set_provider_state(
        self,
        provider: str,
        state: str | catalog.ProviderState.ValueType,
        *,
        reason: str = "",
        for_s: float | None = None,
    ) -> catalog.Provider:
        """Take a provider out of service (`disabled`, with a reason, perhaps only for some seconds) or back in.

        Raises:
            PictorError: You are no operator, or there is no such provider.
            ValueError: There is no such state.
        """
        message = catalog.SetProviderStateRequest(
            provider=provider,
            state=_provider_state_number(state),
            reason=reason,
            duration=None if for_s is None else duration(for_s),
        )
        return (await self._calls.ask(self._catalog.SetProviderState, message, _READ_TIMEOUT_S)).provider

    def _follow(self, start: "_Start", wish: Wish) -> AsyncIterator[Event]:
        return self._calls.follow(lambda left: start(timeout=left, metadata=self._calls.metadata), Assembler(), wish)

    def _with_id(self, message: images.GenerateRequest) -> images.GenerateRequest:
        message.request_id = message.request_id or self._new_id()
        return message

    async def _fetched(self, generation: Generation, *, fetch: bool) -> Generation:
        if not fetch:
            return generation
        pictures = [p if p.data is not None else await self.download(p.id) for p in generation.pictures]
        return Generation(generation.message, tuple(pictures))


def _wish(message: images.GenerateRequest, *, timeout: float | None, fetch: bool) -> Wish:
    bound = message.max_inline_bytes if message.HasField("max_inline_bytes") else None
    is_withdrawn = message.on_disconnect != OnDisconnect.ON_DISCONNECT_FINISH
    return Wish(message.request_id, bound, timeout, fetch, is_withdrawn_when_lost=is_withdrawn)


def _thumb_number(thumb: str | int | None) -> "history.Thumb.ValueType":
    return history.Thumb.ValueType(0 if thumb is None else enums.number(history.Thumb.DESCRIPTOR, thumb))


def _provider_state_number(state: str | int) -> "catalog.ProviderState.ValueType":
    return catalog.ProviderState.ValueType(enums.number(catalog.ProviderState.DESCRIPTOR, state))
