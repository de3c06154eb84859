"""A gateway of canned answers on a real channel, for tests of the client and the command alone.

It runs in threads, so that a command with an event loop of its own can be tested beside it.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from pictor.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    generation_pb2,
    history_service_pb2,
    history_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from pictor.v1.generation_pb2 import GenerationEvent
from pictor.v1.image_pb2 import Image

CHUNK_BYTES = 1000


class CannedGateway:
    """Answers each RPC with the handler that the test put into `handlers`; keeps what was asked, and the metadata."""

    def __init__(self):
        self.handlers = {}
        self.asked = []
        self.metadata = []
        self.address = ""
        self._server = None

    def start(self, port=0):
        """Listen; the port of an earlier life may be taken again."""
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        for module, grpc_module in (
            (image_service_pb2, image_service_pb2_grpc),
            (history_service_pb2, history_service_pb2_grpc),
            (catalog_service_pb2, catalog_service_pb2_grpc),
            (usage_service_pb2, usage_service_pb2_grpc),
        ):
            for name, service in module.DESCRIPTOR.services_by_name.items():
                servicer = type(name, (), {m.name: self._method(m) for m in service.methods})()
                getattr(grpc_module, f"add_{name}Servicer_to_server")(servicer, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self):
        """Break every connection."""
        self._server.stop(grace=None).wait()

    def requests(self, name):
        """What was asked of one RPC."""
        return [request for rpc, request in self.asked if rpc == name]

    def _method(self, method):
        def note(request, context):
            self.asked.append((method.name, request))
            self.metadata.append(dict(context.invocation_metadata()))
            if method.name not in self.handlers:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "no canned answer")
            return self.handlers[method.name](request, context)

        def unary(_, request, context):
            return note(request, context)

        def stream(_, request, context):
            yield from note(request, context)

        def upload(_, parts, context):
            return note(list(parts), context)

        if method.client_streaming:
            return upload
        return stream if method.server_streaming else unary


@contextmanager
def canned_gateway():
    """A running gateway without answers."""
    gateway = CannedGateway()
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def refuse(context, code, text, *, reason, metadata=(), violations=(), retry_s=None, trailers=()):
    """End a call the way the gateway does: a status with details."""
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="pictor", metadata=dict(metadata))]
    if violations:
        fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in violations]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    if retry_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(retry_s * 1000))
        details.append(retry)
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata(tuple(trailers) + rpc_status.to_status(status).trailing_metadata)
    context.abort(code, text)


def lose(context):
    """End a call the way a broken connection looks from the client."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def image(data, image_id="img_1", **fields):
    """The description of a picture."""
    return Image(
        id=image_id,
        mime_type="image/png",
        width_px=1024,
        height_px=768,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        model="gemini-3.1-flash-image",
        model_version="v1",
        **fields,
    )


def generation(*images, **fields):
    """A finished generation with one succeeded output for each picture."""
    message = generation_pb2.Generation(id="gen_1", state=generation_pb2.Generation.STATE_SUCCEEDED, **fields)
    message.decision.row = "standard"
    message.cost.amount.nanos = 67_000_000
    message.cost.basis = 2
    for index, each in enumerate(images):
        described = Image()
        described.CopyFrom(each)
        described.output_index = index
        message.outputs.add(index=index, state=message.state, image=described)
        message.attempts.add(output_index=index, model=each.model, outcome="image").cost.CopyFrom(message.cost)
    return message


def accepted(sequence=1, generation_id="gen_1"):
    """The first event."""
    event = GenerationEvent(sequence=sequence)
    event.accepted.generation_id = generation_id
    event.accepted.decision.row = "standard"
    event.accepted.decision.candidates.add(model="gemini-3.1-flash-image")
    event.accepted.estimated_cost.nanos = 90_000_000
    return event


def started(sequence):
    """An engine is called."""
    event = GenerationEvent(sequence=sequence)
    event.attempt_started.model = "gemini-3.1-flash-image"
    event.attempt_started.expected_p50.seconds = 8
    event.attempt_started.expected_p90.seconds = 20
    return event


def preview(sequence, data, index=0):
    """A preview with its chunks."""
    event = GenerationEvent(sequence=sequence)
    event.preview.index = index
    event.preview.mime_type = "image/png"
    event.preview.size_bytes = len(data)
    return [event, *chunks(sequence, "preview_chunk", data)]


def picture(sequence, data, image_id="img_1"):
    """A finished picture with its chunks."""
    event = GenerationEvent(sequence=sequence)
    event.image.image.CopyFrom(image(data, image_id))
    event.image.chunks_follow = True
    return [event, *chunks(sequence, "image_chunk", data, image_id=image_id)]


def chunks(sequence, kind, data, **fields):
    """The transport messages of some bytes."""
    found = []
    for offset in range(0, len(data), CHUNK_BYTES):
        event = GenerationEvent(sequence=sequence)
        part = data[offset : offset + CHUNK_BYTES]
        chunk = getattr(event, kind)
        chunk.offset_bytes = offset
        chunk.data = part
        chunk.last = offset + len(part) == len(data)
        for name, value in fields.items():
            setattr(chunk, name, value)
        found.append(event)
    return found


def completed(sequence, message):
    """The last event."""
    event = GenerationEvent(sequence=sequence)
    event.completed.generation.CopyFrom(message)
    return event


def answers(response, events):
    """Events as responses of one RPC."""
    return [response(event=event) for event in events]


def download(data, image_id="img_1"):
    """A handler that sends a picture from any offset."""

    def handle(request, _):
        yield history_service_pb2.DownloadImageResponse(image=image(data, image_id))
        for event in chunks(0, "image_chunk", data, image_id=image_id):
            if event.image_chunk.offset_bytes >= request.offset_bytes:
                yield history_service_pb2.DownloadImageResponse(chunk=event.image_chunk)

    return handle
