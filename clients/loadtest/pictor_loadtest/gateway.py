"""The gateway under load: channels, and one call by its shape.

Raw stubs, not `pictor.Client`: that one repeats what was lost, which is right for callers and hides from a load test
what it is there to see. gRPC's own retries are off for the same reason, and so is the contract's service config, whose
600 s would cut the deadlines that are set here.
"""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import grpc

from pictor import failure
from pictor.channel import Target
from pictor.errors import UNREACHABLE, PictorError
from pictor.v1.catalog_service_pb2 import ListProvidersRequest, ListProvidersResponse, Provider
from pictor.v1.catalog_service_pb2_grpc import CatalogServiceStub
from pictor.v1.generation_pb2 import Generation, GenerationEvent
from pictor.v1.history_service_pb2 import GetGenerationRequest, UploadImageRequest
from pictor.v1.history_service_pb2_grpc import HistoryServiceStub
from pictor.v1.image_pb2 import ImageInput
from pictor.v1.image_service_pb2 import (
    EditRequest,
    EditStreamRequest,
    GenerateRequest,
    GenerateStreamRequest,
    PlanRequest,
    PlanResponse,
)
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictor_loadtest import pictures
from pictor_loadtest.mix import Shape
from pictor_loadtest.record import NANOS, NO_ANSWER, Made, Record

LOOK_UP_S = 30.0
"""For calls that draw nothing."""

_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share one connection
]

_UPLOAD_CHUNK_BYTES = 512 * 2**10
"""Below the contract's 1 MiB a message."""

_UNSURE = (UNREACHABLE, NO_ANSWER, "CANCELLED", "UNKNOWN", "INTERNAL")
"""The gateway said nothing, or nothing of money: the call may have been sent on all the same."""

_CLOSE_S = 1.0
"""How early before a deadline an end still counts as that deadline's."""

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a call may take and cost, known from `Plan` before the run."""

    timeout_s: float
    worst_nanos: int
    """With the dearest two sends of each picture, the most that there can be."""
    max_cost_nanos: int | None
    """Sent along, so that the gateway keeps to it; None where money is no matter, and must not be what fails a call."""


class Gateway:
    """Some connections to one gateway.

    Args:
        address: As for `pictor.Client`.
        metadata: Sent with every call.
        connections: How many; calls take turns.
        max_inline_bytes: Bytes of finished pictures in answers; 0 means none.
        new_id: Makes the `request_id` of each call.
    """

    def __init__(
        self,
        address: str | None,
        metadata: Metadata = (),
        *,
        connections: int = 1,
        max_inline_bytes: int = 0,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._target = target = Target.parse(address)
        self.address = target.address
        key = os.environ.get("PICTOR_API_KEY")
        self._metadata = (*((("authorization", f"Bearer {key}"),) if key else ()), *metadata)
        self._channels = [_channel(target) for _ in range(connections)]
        self._stubs = cycle([ImageServiceStub(channel) for channel in self._channels])
        self._history = HistoryServiceStub(self._channels[0])
        self._max_inline_bytes = max_inline_bytes
        self._new_id = new_id
        self._inputs: dict[str, tuple[ImageInput, ImageInput | None]] = {}

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels:
            await channel.close()

    # --- before the run

    async def providers(self) -> Sequence[Provider]:
        """The gateway's engines, asked over every connection: behind a balancer each may end at another replica.

        Raises:
            PictorError: It does not answer, or refuses.
        """
        found: list[Provider] = []
        for channel in self._channels:
            ask = CatalogServiceStub(channel).ListProviders
            answer: ListProvidersResponse = await self._ask(ask, ListProvidersRequest())
            found += answer.providers
        return found

    async def upload_inputs(self, shapes: Sequence[Shape]) -> None:
        """Bring the pictures that edits change, once; free of charge.

        Raises:
            PictorError: One was refused.
        """
        for shape in shapes:
            if shape.edit_px is not None:
                image = await self._upload(pictures.picture(*shape.edit_px))
                mask = await self._upload(pictures.mask(*shape.edit_px)) if shape.mask else None
                self._inputs[shape.name] = (image, mask)

    async def plan(self, shape: Shape) -> PlanResponse:
        """What a call of this shape would do, and cost with its longest prompt.

        Raises:
            PictorError: The request is not valid.
        """
        message = self._request(shape, max(shape.prompts, key=lambda prompt: len(prompt.encode())))
        plan = PlanRequest(edit=message) if isinstance(message, EditRequest) else PlanRequest(generate=message)
        answer: PlanResponse = await self._ask(next(self._stubs).Plan, plan)
        return answer

    # --- the run

    async def call(self, record: Record, bounds: Bounds, clock: Callable[[], float]) -> None:
        """Make one call; what became of it is in the record."""
        shape = record.due.shape
        message = self._request(shape, record.due.prompt)
        draw = message.request if isinstance(message, EditRequest) else message
        draw.request_id = self._new_id()
        draw.max_inline_bytes = self._max_inline_bytes
        if bounds.max_cost_nanos is not None:
            units, nanos = divmod(bounds.max_cost_nanos, NANOS)
            draw.max_cost.units, draw.max_cost.nanos, draw.max_cost.currency_code = units, nanos, "USD"
        how: dict[str, Any] = {"timeout": bounds.timeout_s, "metadata": self._metadata}
        stub, began_s = next(self._stubs), clock()
        try:
            if shape.stream:
                await _follow(_stream(stub, message, how), record, clock)
            elif isinstance(message, EditRequest):
                _take((await stub.Edit(message, **how)).generation, record)
            else:
                _take((await stub.Generate(message, **how)).generation, record)
        except grpc.aio.AioRpcError as ended:
            _fail(record, failure.read(ended, self._target), is_late=clock() - began_s >= bounds.timeout_s - _CLOSE_S)

    # --- after the run

    async def look_up(self, generation_id: str) -> Made:
        """What a call that failed had cost.

        Raises:
            PictorError: The gateway does not know.
        """
        message = GetGenerationRequest(generation_id=generation_id)
        return Made.of((await self._ask(self._history.GetGeneration, message)).generation)

    # --- parts

    def _request(self, shape: Shape, prompt: str) -> GenerateRequest | EditRequest:
        draw = GenerateRequest()
        draw.CopyFrom(shape.request)
        draw.prompt = prompt
        if shape.edit_px is None:
            return draw
        image, mask = self._inputs[shape.name]
        return EditRequest(request=draw, image=image, mask=mask)

    async def _upload(self, data: bytes) -> ImageInput:
        async def parts() -> AsyncIterator[UploadImageRequest]:
            for start in range(0, len(data), _UPLOAD_CHUNK_BYTES):
                yield UploadImageRequest(data=data[start : start + _UPLOAD_CHUNK_BYTES])

        try:
            answer = await self._history.UploadImage(parts(), timeout=LOOK_UP_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as ended:
            raise failure.read(ended, self._target) from ended
        return ImageInput(image_id=answer.image.id)

    async def _ask(self, method: Any, message: Any) -> Any:
        try:
            return await method(message, timeout=LOOK_UP_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as ended:
            raise failure.read(ended, self._target) from ended


def _channel(target: Target) -> grpc.aio.Channel:
    if target.is_tls:
        return grpc.aio.secure_channel(target.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.aio.insecure_channel(target.address, options=_OPTIONS)


def _stream(stub: Any, message: GenerateRequest | EditRequest, how: Mapping[str, Any]) -> Any:
    if isinstance(message, EditRequest):
        return stub.EditStream(EditStreamRequest(request=message), **how)
    return stub.GenerateStream(GenerateStreamRequest(request=message), **how)


async def _follow(stream: Any, record: Record, clock: Callable[[], float]) -> None:
    async for response in stream:
        event: GenerationEvent = response.event
        match event.WhichOneof("event"):
            case "accepted":
                record.generation_id = event.accepted.generation_id
            case "preview_chunk":
                record.bytes_in += len(event.preview_chunk.data)
                if event.preview_chunk.last:
                    record.previews += 1
                    record.preview_s = record.preview_s or clock()
            case "image_chunk":
                record.bytes_in += len(event.image_chunk.data)
            case "completed":
                _take(event.completed.generation, record)
    if record.made is None:
        record.reason, record.text = "STREAM_ENDED_EARLY", "the stream ended without `completed`"
        record.may_have_cost = True


def _fail(record: Record, error: PictorError, *, is_late: bool) -> None:
    record.reason, record.text = error.reason, error.message
    if is_late and error.code is grpc.StatusCode.CANCELLED:
        record.reason = NO_ANSWER  # the server's clock saw the deadline first, and reset the call
    record.may_have_cost = error.paid or record.reason in _UNSURE
    record.generation_id = error.generation_id or record.generation_id


def _take(generation: Generation, record: Record) -> None:
    record.generation_id = generation.id
    record.made = Made.of(generation)
    record.bytes_in += sum(len(output.image.data) for output in generation.outputs)
