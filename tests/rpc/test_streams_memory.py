"""Readers that never read: what they cost the server, and that nobody else notices."""

import asyncio
import hashlib
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictord.sandbox import SandboxSettings, run

READERS = 200
MIB = 1024 * 1024
PROCESS = Path(__file__).parents[1] / "gateway_process.py"
OWN_CONNECTION = [
    ("grpc.use_local_subchannel_pool", 1),
    # A small window stalls the server at the first chunk; with a large one the client holds the bytes instead.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
]


@asynccontextmanager
async def gateway_process(sandbox):
    """A gateway whose memory is its own; gives its process and its address."""
    urls = (sandbox.openai_base_url, sandbox.gemini_base_url)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, PROCESS, *urls, stdin=pipe, stdout=pipe)
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


def resident_bytes(process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def asked(name: str) -> service.GenerateStreamRequest:
    """A large picture with two previews."""
    request = service.GenerateRequest(
        prompt="a fox in great detail",
        model="gpt-image-2",
        quality=image.QUALITY_MEDIUM,
        canvas=image.Canvas(ratio="16:9", resolution=image.RESOLUTION_4K),
        preview_count=2,
        request_id=name,
    )
    return service.GenerateStreamRequest(request=request)


async def read_whole(channel, name: str) -> int:
    """Read a stream to its end, check the picture, and say how large everything was."""
    size, data, drawn = 0, b"", None
    async for message in ImageServiceStub(channel).GenerateStream(asked(name)):
        size += message.event.preview.size_bytes
        data += message.event.image_chunk.data
        if message.event.HasField("completed"):
            drawn = message.event.completed.generation.outputs[0].image
    assert hashlib.sha256(data).hexdigest() == drawn.sha256
    return size + len(data)


async def test_readers_that_never_read_cost_one_chunk_each_and_slow_nobody():
    """200 stalled readers of one generation cost below 2 MiB each beyond one copy; a reader beside them gets all."""
    async with run(SandboxSettings(time_scale=0)) as sandbox, gateway_process(sandbox) as (process, address):
        reader = grpc.aio.insecure_channel(address, options=OWN_CONNECTION)
        copy = await read_whole(reader, "warm-up")
        before = resident_bytes(process)
        sandbox.faults.add("stall", times=1)
        channels = [grpc.aio.insecure_channel(address, options=OWN_CONNECTION) for _ in range(READERS)]
        stalled = [ImageServiceStub(channel).GenerateStream(asked("shared")) for channel in channels]
        await asyncio.gather(*(call.initial_metadata() for call in stalled))
        await sandbox.wait_for_stalls(1)
        sandbox.release_stalls()

        for _ in range(3):  # by the third time round everybody else has stalled
            await read_whole(reader, "shared")
        cost = (resident_bytes(process) - before - copy) / READERS

        assert len(sandbox.requests) == 2
        assert cost < 2 * MIB, f"{cost / MIB:.2f} MiB for each reader"
        for call in stalled:
            call.cancel()
        for channel in (*channels, reader):
            await channel.close()
