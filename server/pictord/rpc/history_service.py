# ruff: noqa: N802, ARG002 - RPCs are named by the contract, their signature is gRPC's
"""HistoryService: convert, call, convert."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeAlias

import grpc

from pictor.v1 import history_service_pb2 as service
from pictor.v1.history_service_pb2_grpc import HistoryServiceServicer
from pictord.domain.caller import Caller
from pictord.domain.comparison import compare
from pictord.domain.rating import Rating
from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs.history import MAX_DELETED, MAX_FAMILY, Family, History, whose
from pictord.jobs.jobs import Jobs
from pictord.jobs.log import EventLog
from pictord.jobs.silences import closable
from pictord.routing.validate import LABELS_MAX
from pictord.rpc import convert_out, enums
from pictord.rpc.call import current_caller
from pictord.rpc.convert_in import Check, max_inline_bytes, timestamp
from pictord.rpc.image_service import Answering
from pictord.rpc.page_token import PageTokens
from pictord.rpc.status import GENERATION_ID_KEY
from pictord.rpc.stream import CHUNK_BYTES, ended, follow
from pictord.store.base import ListFilter, Store

DEFAULT_PAGE = 50
MAX_PAGE = 200
MAX_UPLOAD_BYTES = 20 * 1024 * 1024
MAX_UPLOAD_MESSAGE_BYTES = 1024 * 1024
MAX_RATING_TEXT = 1000

_TimeField = Literal["start_time", "end_time"]
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class HistoryRpcs(HistoryServiceServicer):
    """Everything that was made."""

    def __init__(self, jobs: Jobs, store: Store, answering: Answering, tokens: PageTokens) -> None:
        self._jobs = jobs
        self._history = History(jobs, store, answering.now)
        self._answering = answering
        self._tokens = tokens

    async def GetGeneration(
        self, request: service.GetGenerationRequest, context: Context
    ) -> service.GetGenerationResponse:
        """See the contract."""
        check = Check()
        bound = max_inline_bytes(request, check) or 0
        if request.WhichOneof("key") is None:
            check.fail("key", "set generation_id or request_id")
        check.done()
        if request.HasField("request_id"):
            generation = await self._jobs.find(current_caller(), request.request_id)
        else:
            generation = await self._jobs.get(current_caller(), request.generation_id)
        return await self._answering.tell(service.GetGenerationResponse(), generation, bound)

    async def ListGenerations(
        self, request: service.ListGenerationsRequest, context: Context
    ) -> service.ListGenerationsResponse:
        """See the contract."""
        query, identity = self._list_filter(request, current_caller()), _query_identity(request, current_caller())
        query = replace(query, before=self._tokens.read(request.page_token, identity))
        page = await self._history.page(query)
        return service.ListGenerationsResponse(
            generations=[self._answering.message(each) for each in page.generations],
            next_page_token=self._tokens.issue(page.next_before, identity) if page.next_before else "",
        )

    async def CompareGenerations(
        self, request: service.CompareGenerationsRequest, context: Context
    ) -> service.CompareGenerationsResponse:
        """See the contract."""
        caller = current_caller()
        family = await self._family(request, caller)
        return service.CompareGenerationsResponse(
            generations=[self._answering.message(each) for each in family.members],
            fields=[
                service.ComparedField(path=each.path, values=each.values, differs=each.differs)
                for each in compare(family.members)
            ],
            truncated=family.truncated,
            ratings=[_rating_message(each) for each in await self._history.ratings(caller, family)],
        )

    async def RateGeneration(
        self, request: service.RateGenerationRequest, context: Context
    ) -> service.RateGenerationResponse:
        """See the contract."""
        check = Check()
        thumb = check.enum("thumb", enums.THUMB, request.thumb)
        says = bool(request.thumb) or bool(request.won_over_ids)
        check.require(ok=says, field="thumb", text="set thumb, won_over_ids or both")
        _check_won_over(check, request)
        too_long = f"has {len(request.text)} characters; {MAX_RATING_TEXT} at most"
        check.require(ok=len(request.text) <= MAX_RATING_TEXT, field="text", text=too_long)
        check.done()
        rating = await self._history.rate(
            current_caller(), request.generation_id, thumb, request.won_over_ids, request.text
        )
        return service.RateGenerationResponse(rating=_rating_message(rating))

    async def _family(self, request: service.CompareGenerationsRequest, caller: Caller) -> Family:
        asked = [bool(request.lineage_of), bool(request.set_id), bool(request.generation_ids)]
        if asked.count(True) != 1:
            text = "set exactly one of lineage_of, set_id and generation_ids"
            raise invalid([FieldViolation("lineage_of", text)])
        if request.generation_ids:
            return await self._history.named(caller, request.generation_ids)
        if request.set_id:
            return await self._history.of_set(caller, request.set_id)
        return await self._history.lineage(caller, request.lineage_of)

    async def WatchGeneration(
        self, request: service.WatchGenerationRequest, context: Context
    ) -> AsyncIterator[service.WatchGenerationResponse]:
        """See the contract."""
        check = Check()
        bound = max_inline_bytes(request, check)
        check.require(ok=request.after_sequence >= 0, field="after_sequence", text="is negative; 0 is the beginning")
        check.done()
        generation = await self._jobs.get(current_caller(), request.generation_id)
        log = self._jobs.log(generation.id)
        await context.send_initial_metadata(((GENERATION_ID_KEY, generation.id),))
        writer, streams, new = self._answering.writer(bound), self._answering.streams, service.WatchGenerationResponse
        if log is None:
            end = partial(self._jobs.ended, generation.id)
            responses = ended(end, writer, streams, new, after=request.after_sequence)
        else:
            responses = follow(log, writer, streams, new, after=_resume(log, request.after_sequence))
        async with aclosing(responses) as messages:
            async for message in messages:
                yield message

    async def CancelGeneration(
        self, request: service.CancelGenerationRequest, context: Context
    ) -> service.CancelGenerationResponse:
        """See the contract."""
        generation = await self._jobs.cancel(current_caller(), request.generation_id)
        return service.CancelGenerationResponse(generation=self._answering.message(generation))

    async def DeleteGenerations(
        self, request: service.DeleteGenerationsRequest, context: Context
    ) -> service.DeleteGenerationsResponse:
        """See the contract."""
        caller = current_caller()
        _check_deletion(request)
        if request.generation_ids:
            deleted = await self._history.delete(caller, request.generation_ids)
        else:
            owner = _whose_to_delete(request.caller, caller)
            deleted = await self._history.delete_of(owner, request.end_user or None)
        return service.DeleteGenerationsResponse(
            generation_count=len(deleted.generations),
            upload_count=deleted.uploads,
            running_ids=deleted.running[:MAX_DELETED],
        )

    async def DownloadImage(
        self, request: service.DownloadImageRequest, context: Context
    ) -> AsyncIterator[service.DownloadImageResponse]:
        """See the contract."""
        image = await self._answering.pictures.image(current_caller(), request.image_id)
        offset = request.offset_bytes
        if not 0 <= offset <= image.size_bytes:
            text = f"{offset} lies outside the picture of {image.size_bytes} bytes"
            raise invalid([FieldViolation("offset_bytes", text)])
        yield service.DownloadImageResponse(image=convert_out.image_message(image, self._answering.streams.link))
        chunks = closable(self._answering.pictures.chunks(image, offset, CHUNK_BYTES))
        async with aclosing(chunks) as parts:
            async for data in parts:
                response = service.DownloadImageResponse()
                chunk = response.chunk
                chunk.image_id, chunk.offset_bytes, chunk.data = image.id, offset, data
                offset += len(data)
                chunk.last = offset == image.size_bytes
                yield response

    async def UploadImage(
        self, request_iterator: AsyncIterator[service.UploadImageRequest], context: Context
    ) -> service.UploadImageResponse:
        """See the contract."""
        data = bytearray()
        async for message in request_iterator:
            _check_upload(len(message.data), len(data))
            data += message.data
        if not data:
            raise invalid([FieldViolation("data", "needs the bytes of a picture", Reason.IMAGE_MISSING)])
        image = await self._answering.pictures.upload(current_caller(), bytes(data))
        return service.UploadImageResponse(image=convert_out.image_message(image, self._answering.streams.link))

    def _list_filter(self, request: service.ListGenerationsRequest, caller: Caller) -> ListFilter:
        check = Check()
        size = request.page_size or DEFAULT_PAGE
        check.require(ok=size > 0, field="page_size", text=f"{size} is negative; give 1 to {MAX_PAGE}")
        many = f"at most {LABELS_MAX}, these are {len(request.labels)}"
        check.require(ok=len(request.labels) <= LABELS_MAX, field="labels", text=many)
        asked_of = whose(request.caller, caller)
        known = asked_of is not None or not request.end_user
        check.require(ok=known, field="end_user", text="is known to one caller alone; name that one in `caller`")
        query = ListFilter(
            caller=asked_of,
            state=check.enum("state", enums.STATE, request.state),
            model=request.model or None,
            served_version=request.model_version or None,
            tier=check.enum("tier", enums.TIER, request.tier),
            workflow=check.enum("workflow", enums.WORKFLOW, request.workflow),
            row=request.row or None,
            end_user=self._jobs.end_user_hash(asked_of or "", request.end_user) if request.end_user else None,
            set_id=request.set_id or None,
            reroll_of=request.reroll_of or None,
            request_id=request.request_id or None,
            provider_request_id=request.provider_request_id or None,
            labels=dict(request.labels),
            since=_time(check, request, "start_time"),
            until=_time(check, request, "end_time"),
            limit=min(size, MAX_PAGE),
        )
        check.done()
        return query


def _check_deletion(request: service.DeleteGenerationsRequest) -> None:
    check, ids = Check(), request.generation_ids
    is_one = [bool(ids), bool(request.end_user), request.everything].count(True) == 1
    text = "set exactly one of generation_ids, end_user and everything"
    check.require(ok=is_one, field="generation_ids", text=text)
    many = f"has {len(ids)} ids; {MAX_DELETED} at most"
    check.require(ok=len(ids) <= MAX_DELETED, field="generation_ids", text=many)
    needless = "is only for end_user and everything; an id says whose it is"
    check.require(ok=not (ids and request.caller), field="caller", text=needless)
    check.done()


def _whose_to_delete(asked: str, caller: Caller) -> str:
    if asked in {"", caller.name} or caller.is_operator:
        return asked or caller.name
    text = f"only operators may delete what others made; {caller.name} is a caller"
    raise GatewayError(Reason.PERMISSION_DENIED, text, {"caller": caller.name})


def _check_won_over(check: Check, request: service.RateGenerationRequest) -> None:
    ids = request.won_over_ids
    most = MAX_FAMILY - 1
    fit = len(ids) <= most and len({*ids, request.generation_id}) == len(ids) + 1
    check.require(ok=fit, field="won_over_ids", text=f"give up to {most} different ids, not that of the winner")


def _rating_message(rating: Rating) -> service.Rating:
    return service.Rating(
        generation_id=rating.subject.generation_id,
        caller=rating.caller,
        thumb=enums.THUMB.to_proto(rating.thumb),
        won_over_ids=[each.generation_id for each in rating.losers],
        text=rating.text,
        rate_time=convert_out.timestamp_message(rating.rate_time),
    )


def _time(check: Check, request: service.ListGenerationsRequest, field: _TimeField) -> datetime | None:
    return check.value(field, lambda: timestamp(getattr(request, field))) if request.HasField(field) else None


def _resume(log: EventLog, after: int) -> int:
    """Where to go on reading; whoever has seen everything gets the end once more, since every stream ends with it."""
    if after > log.last_sequence:
        text = f"{after} is not reached yet; the last event is {log.last_sequence}"
        raise invalid([FieldViolation("after_sequence", text)])
    return min(after, log.last_sequence - 1) if log.is_complete else after


def _check_upload(message_bytes: int, before_bytes: int) -> None:
    if message_bytes > MAX_UPLOAD_MESSAGE_BYTES:
        text = f"has {message_bytes} bytes; send at most {MAX_UPLOAD_MESSAGE_BYTES} in one message"
        raise invalid([FieldViolation("data", text)])
    if before_bytes + message_bytes > MAX_UPLOAD_BYTES:
        text = f"the picture has more than {MAX_UPLOAD_BYTES} bytes"
        raise invalid([FieldViolation("data", text, Reason.IMAGE_TOO_LARGE)])


def _query_identity(request: service.ListGenerationsRequest, caller: Caller) -> bytes:
    """What a page token belongs to: everything but the place and the size of the page, and who asks."""
    query = service.ListGenerationsRequest()
    query.CopyFrom(request)
    query.ClearField("page_token")
    query.ClearField("page_size")
    return caller.name.encode() + b"\n" + query.SerializeToString(deterministic=True)
