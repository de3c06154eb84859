"""Callers whose wishes and moods are drawn from the seed and their number, so that a run can be run again."""

import asyncio
import random
from dataclasses import dataclass, field

import grpc

from gateway import GPT, NANO, refusal
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.image_service_pb2_grpc import ImageServiceStub


class FickleClient:
    """Asks for one thing; every fifth goes away before it has it."""

    def __init__(self, seed: int, number: int) -> None:
        self.dice = random.Random(f"{seed}/{number}")
        self.leaves_after = self.dice.randint(0, 5) if self.dice.random() < 0.2 else None
        """How many events it waits for before it goes away; None stays to the end."""
        # Most are the quickest picture there is, on the one engine that draws it; the others can fall back both ways.
        kind = self.dice.choices(("small", "standard", "low"), weights=(80, 8, 12))[0]
        fields = {
            "small": {"canvas": image.Canvas(resolution=image.RESOLUTION_512)},
            "standard": {},
            "low": {"model": GPT, "quality": image.QUALITY_LOW, "allow_fallback": True},
        }[kind]
        self.request = service.GenerateRequest(
            prompt=f"oracle {number}",
            count=2 if self.dice.random() < 0.05 else 1,
            preview_count=1 if self.dice.random() < 0.1 else 0,
            output_format=image.OUTPUT_FORMAT_JPEG,
            max_inline_bytes=0,
            **fields,
        )

    async def call(self, images: ImageServiceStub) -> str:
        """What it is told: `picture`, the reason why there is none, or nothing because it has left."""
        try:
            if self.leaves_after is None and self.dice.random() < 0.5:
                await images.Generate(self.request)
            else:
                await self._stream(images.GenerateStream(service.GenerateStreamRequest(request=self.request)))
        except grpc.aio.AioRpcError as error:
            return refusal(error).reason
        except asyncio.CancelledError:
            return ""
        return "picture" if self.leaves_after is None else ""

    async def _stream(self, stream: grpc.aio.UnaryStreamCall) -> None:
        seen = 0
        while seen != self.leaves_after:
            if await stream.read() == grpc.aio.EOF:
                return
            seen += 1
        stream.cancel()


@dataclass
class Door:
    """Where the gateway is now, however often it has died."""

    images: ImageServiceStub | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def opens(self, channel: grpc.aio.Channel) -> None:
        self.images = ImageServiceStub(channel)
        self._changed.set()
        self._changed = asyncio.Event()

    async def another_than(self, images: ImageServiceStub | None) -> ImageServiceStub:
        while self.images is images or self.images is None:
            await self._changed.wait()
        return self.images


class PatientClient:
    """Asks under one request id until the gateway itself has an answer, through any number of its deaths."""

    def __init__(self, seed: int, number: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        drawn = {"model": NANO, "canvas": image.Canvas(resolution=image.RESOLUTION_512)}
        low = {"model": GPT, "quality": image.QUALITY_LOW}
        self.request = service.GenerateRequest(
            prompt=f"patience {number}",
            request_id=f"r{number}",
            count=2 if dice.random() < 0.1 else 1,
            output_format=dice.choice((image.OUTPUT_FORMAT_JPEG, image.OUTPUT_FORMAT_PNG)),
            max_inline_bytes=0,
            **(drawn if dice.random() < 0.9 else low),
        )

    async def call(self, door: Door) -> str:
        """What it is told in the end: `picture`, or the reason why there is none."""
        images = None
        while True:
            images = await door.another_than(images)
            try:
                await images.Generate(self.request)
            except grpc.aio.AioRpcError as error:
                told = refusal(error)
                if told.reason:
                    return told.reason
            except grpc.aio.UsageError:
                pass  # the channel was closed before this caller's turn came
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():
                    raise  # else it is the channel that was closed
            else:
                return "picture"
