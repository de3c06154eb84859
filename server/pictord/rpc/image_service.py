# ruff: noqa: N802 - RPCs are named by the contract
"""ImageService: convert, call, convert."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import grpc

from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation as GenerationMessage
from pictor.v1.image_service_pb2_grpc import ImageServiceServicer
from pictord.domain.generation import Generation
from pictord.domain.request import GenerationRequest
from pictord.errors import GatewayError, generation_error
from pictord.jobs.jobs import Jobs, Submission
from pictord.jobs.pictures import Pictures
from pictord.jobs.planning import Planned
from pictord.jobs.sets import Held, SetRun, SetStep, SetSummary, submit_set
from pictord.jobs.silences import closable, with_silences
from pictord.rpc import convert_in, convert_out
from pictord.rpc.call import current, current_caller
from pictord.rpc.convert_in import Check, Paths, RequestReader
from pictord.rpc.framing import G, framed
from pictord.rpc.status import CODES, GENERATION_ID_KEY, SET_ID_KEY
from pictord.rpc.stream import (
    EventWriter,
    InlineBudget,
    R,
    StreamSettings,
    completed_alone,
    ended,
    follow,
)

UNARY_INLINE_BYTES = 3 * 1024 * 1024
"""Bytes of pictures in a unary answer unless the caller says otherwise: below the 4 MiB that most clients receive."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Answering:
    """What the servicers need to answer: pictures, the clock, and how streams behave."""

    pictures: Pictures
    now: Callable[[], datetime]
    streams: StreamSettings

    def writer(self, max_inline_bytes: int | None) -> EventWriter:
        """A writer for one reader; None means no bound on the bytes of pictures."""
        return EventWriter(self.streams, InlineBudget(max_inline_bytes), self.pictures.chunks, self.now)

    def message(self, generation: Generation) -> GenerationMessage:
        """A generation without its pictures' bytes."""
        return convert_out.generation_message(generation, sandbox=self.streams.sandbox, link=self.streams.link)

    async def tell(
        self,
        response: G,
        generation: Generation,
        max_inline_bytes: int,
        submission: Submission | None = None,
    ) -> G:
        """Write a generation into a response, with its pictures' bytes, in order, as far as they fit."""
        budget, inline = InlineBudget(max_inline_bytes), {}
        for image in generation.images:
            if budget.take(image):
                log = submission.log if submission is not None else None
                at_hand = log.image_bytes(image.id) if log is not None else None
                inline[image.id] = at_hand if at_hand is not None else await self.pictures.data(image)
        response.generation.CopyFrom(self.message(generation))
        return framed(response, inline)


class ImageRpcs(ImageServiceServicer):
    """Makes pictures."""

    def __init__(self, jobs: Jobs, answering: Answering, new_id: Callable[[str], str]) -> None:
        self._jobs = jobs
        self._answering = answering
        self._new_id = new_id
        self._held = Held()

    async def Generate(self, request: service.GenerateRequest, context: Context) -> service.GenerateResponse:
        """See the contract."""
        wanted = await self._reader().generate(request, convert_in.GENERATE)
        return await self._unary(wanted, convert_in.GENERATE, context, service.GenerateResponse())

    async def Edit(self, request: service.EditRequest, context: Context) -> service.EditResponse:
        """See the contract."""
        wanted = await self._reader().edit(request, convert_in.EDIT)
        return await self._unary(wanted, convert_in.EDIT, context, service.EditResponse())

    async def GenerateStream(
        self, request: service.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[service.GenerateStreamResponse]:
        """See the contract."""
        wanted = await self._reader().generate(request.request, convert_in.GENERATE_STREAM)
        responses = self._streamed(wanted, convert_in.GENERATE_STREAM, context, service.GenerateStreamResponse)
        async with aclosing(responses) as messages:
            async for message in messages:
                yield message

    async def EditStream(
        self, request: service.EditStreamRequest, context: Context
    ) -> AsyncIterator[service.EditStreamResponse]:
        """See the contract."""
        wanted = await self._reader().edit(request.request, convert_in.EDIT_STREAM)
        responses = self._streamed(wanted, convert_in.EDIT_STREAM, context, service.EditStreamResponse)
        async with aclosing(responses) as messages:
            async for message in messages:
                yield message

    async def Reroll(self, request: service.RerollRequest, context: Context) -> AsyncIterator[service.RerollResponse]:
        """See the contract."""
        earlier = await self._jobs.reroll_request(current_caller(), request.generation_id, model=request.model or None)
        wanted = convert_in.rerolled(earlier, request)
        responses = self._streamed(wanted, convert_in.REROLL, context, service.RerollResponse)
        async with aclosing(responses) as messages:
            async for message in messages:
                yield message

    async def GenerateSet(
        self, request: service.GenerateSetRequest, context: Context
    ) -> AsyncIterator[service.GenerateSetResponse]:
        """See the contract."""
        wanted = await self._reader().set(request)
        run = await submit_set(
            self._jobs,
            current_caller(),
            wanted,
            remaining_s=_remaining_s(context),
            headers=current().headers,
            held=self._held,
            new_id=self._new_id,
        )
        try:
            await context.send_initial_metadata(((SET_ID_KEY, run.set_id),))
            yield _set_accepted(run)
            async with aclosing(self._set_steps(run, wanted.brief.max_inline_bytes)) as steps:
                async for step in steps:
                    yield step
            yield _set_summary(run.summary())
        finally:
            run.leave()

    async def Plan(self, request: service.PlanRequest, context: Context) -> service.PlanResponse:  # noqa: ARG002 - gRPC's signature
        """See the contract."""
        check = Check()
        given = request.HasField("timeout")
        remaining_s = check.value("timeout", lambda: convert_in.seconds(request.timeout)) if given else None
        if request.WhichOneof("call") is None:
            check.fail("call", "set generate or edit")
        check.done()
        if request.HasField("edit"):
            wanted, paths = await self._reader().edit(request.edit, convert_in.PLAN_EDIT), convert_in.PLAN_EDIT
        else:
            paths = convert_in.PLAN_GENERATE
            wanted = await self._reader().generate(request.generate, paths)
        try:
            planned = await self._jobs.dry_run(current_caller(), wanted, remaining_s=remaining_s)
        except GatewayError as error:
            if CODES[error.reason] is grpc.StatusCode.INVALID_ARGUMENT:
                raise paths.relocated(error) from None
            return service.PlanResponse(refusal=_plan_refusal(error))  # refused before there was anything to plan
        return _plan_response(planned, wanted.count)

    def _reader(self) -> RequestReader:
        return RequestReader(current_caller(), self._answering.pictures)

    async def _submit(
        self, wanted: GenerationRequest, paths: Paths, context: Context, *, streaming: bool
    ) -> Submission:
        call = current()
        try:
            submission = await self._jobs.submit(
                current_caller(),
                wanted,
                remaining_s=_remaining_s(context),
                streaming=streaming,
                headers=call.headers,
            )
        except GatewayError as error:
            raise paths.relocated(error) from None
        call.generation_id = submission.generation_id
        return submission

    async def _unary(self, wanted: GenerationRequest, paths: Paths, context: Context, response: G) -> G:
        submission = await self._submit(wanted, paths, context, streaming=False)
        try:
            await context.send_initial_metadata(((GENERATION_ID_KEY, submission.generation_id),))
            generation = await submission.wait()
            error = generation_error(generation)
            if error is not None:
                raise error
            context.set_trailing_metadata(_trailers(generation))
            bound = UNARY_INLINE_BYTES if wanted.max_inline_bytes is None else wanted.max_inline_bytes
            return await self._answering.tell(response, generation, bound, submission)
        finally:
            submission.leave()

    async def _streamed(
        self, wanted: GenerationRequest, paths: Paths, context: Context, new: Callable[[], R]
    ) -> AsyncGenerator[R]:
        submission = await self._submit(wanted, paths, context, streaming=True)
        try:
            await context.send_initial_metadata(((GENERATION_ID_KEY, submission.generation_id),))
            writer, streams = self._answering.writer(wanted.max_inline_bytes), self._answering.streams
            if submission.log is None:
                events = ended(submission.wait, writer, streams, new)
            else:
                events = follow(submission.log, writer, streams, new, replayed=submission.replayed)
            async with aclosing(events) as messages:
                async for message in messages:
                    yield message
            context.set_trailing_metadata(_trailers(await submission.wait()))
        finally:
            submission.leave()

    async def _set_steps(
        self, run: SetRun, max_inline_bytes: int | None
    ) -> AsyncGenerator[service.GenerateSetResponse]:
        writer = self._answering.writer(max_inline_bytes)
        async with aclosing(with_silences(closable(run.steps()), self._answering.streams.heartbeat_s)) as steps:
            async for step in steps:
                if step is None:
                    yield writer.heartbeat(0, service.GenerateSetResponse())
                elif step.failure is not None:
                    yield _set_item_failed(step, step.failure)
                elif step.end is not None:
                    yield completed_alone(step.end, _set_response(step), self._answering.streams)
                elif step.event is not None and step.log is not None:
                    responses = writer.messages(step.event, step.log, partial(_set_response, step))
                    async with aclosing(_or_lost(responses, run, step)) as messages:
                        async for message in messages:
                            yield message


async def _or_lost(
    responses: AsyncGenerator[service.GenerateSetResponse], run: SetRun, step: SetStep
) -> AsyncGenerator[service.GenerateSetResponse]:
    """The messages of one step; if retention has dropped its picture meanwhile, its item fails alone."""
    try:
        async with aclosing(responses) as messages:
            async for message in messages:
                yield message
    except GatewayError as gone:
        run.lose(step.generation_id)
        yield _set_item_failed(step, gone)


def _remaining_s(context: Context) -> float | None:
    left_s: float | None = context.time_remaining()  # None without a deadline, whatever the stubs say
    return left_s


def _trailers(generation: Generation) -> tuple[tuple[str, str], ...]:
    models = dict.fromkeys(image.model for image in generation.images)
    spent = generation.timings
    spans = {
        "queue": spent.queue_s,
        "provider": spent.provider_s,
        "store": spent.store_s,
        "overhead": spent.overhead_s,
    }
    return (
        ("pictor-model", ",".join(models)),
        ("pictor-cost-nanos", str(generation.cost.nanos)),
        ("server-timing", ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in spans.items())),
    )


def _plan_response(planned: Planned, count: int) -> service.PlanResponse:
    response = service.PlanResponse(plan=convert_out.plan_message(planned.plan))
    if planned.plan.candidates:
        first = planned.plan.candidates[0]
        response.worst_case_cost.CopyFrom(convert_out.money_message(first.worst_case_nanos * count))
        response.expected_cost.CopyFrom(convert_out.money_message(first.expected_nanos * count))
    if planned.refusal is not None:
        response.refusal.CopyFrom(_plan_refusal(planned.refusal))
    return response


def _plan_refusal(error: GatewayError) -> service.PlanRefusal:
    return service.PlanRefusal(reason=error.reason.name, text=error.text)


def _set_accepted(run: SetRun) -> service.GenerateSetResponse:
    return service.GenerateSetResponse(
        set_accepted=service.SetAccepted(
            set_id=run.set_id,
            output_count=run.output_count,
            estimated_cost=convert_out.money_message(run.estimated_nanos),
        )
    )


def _set_response(step: SetStep) -> service.GenerateSetResponse:
    return service.GenerateSetResponse(item_key=step.item_key, model=step.model, generation_id=step.generation_id)


def _set_item_failed(step: SetStep, failure: GatewayError) -> service.GenerateSetResponse:
    response = _set_response(step)
    response.item_failed.code = CODES[failure.reason].value[0]
    response.item_failed.reason = failure.reason.name
    response.item_failed.text = failure.text
    return response


def _set_summary(summary: SetSummary) -> service.GenerateSetResponse:
    return service.GenerateSetResponse(
        summary=service.SetSummary(
            set_id=summary.set_id,
            succeeded_count=summary.succeeded_count,
            failed_count=summary.failed_count,
            cost=convert_out.cost_message(summary.cost),
            generation_ids=summary.generation_ids,
        )
    )
