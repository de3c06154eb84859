"""People who ask for a picture, look at it for a moment, and ask for the next: a closed loop, unlike `pictor loadtest`.

    locust --headless -f clients/loadtest/locust/locustfile.py --host 127.0.0.1:50051 --users 4 --stop-timeout 660

Without the stop timeout the last calls would be cut off, and paid for all the same.

A slow server is asked less often here, so these latencies flatter it. What locust has no word for is a metric of
its own: `first preview`, `gateway overhead` (Generation.timings.overhead).
"""

import os
import random
import time
import uuid
from typing import Any, Self

import grpc
import grpc.experimental.gevent

grpc.experimental.gevent.init_gevent()  # before the first channel

from locust.user.task import LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING  # noqa: E402

from locust import User, between, task  # noqa: E402
from pictor.v1.image_pb2 import QUALITY_LOW  # noqa: E402
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest  # noqa: E402
from pictor.v1.image_service_pb2_grpc import ImageServiceStub  # noqa: E402

TIMEOUT_S = 660
"""Above the slowest model (600 s): a call that is cut off here is paid for all the same."""
PROMPTS = ("a red fox asleep in fresh snow", "a blue jay on a wooden fence", "three lemons on a marble table")


class Person(User):
    """One caller with a connection of its own."""

    wait_time = between(0.1, 0.5)
    host = os.environ.get("PICTOR_ADDRESS", "127.0.0.1:50051")

    def on_start(self) -> None:
        """Connect."""
        # gRPC's own retries would hide what a load test is there to see.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(self.host, options=options)
        self._images = ImageServiceStub(self._channel)
        key = os.environ.get("PICTOR_API_KEY")
        self._how: dict[str, Any] = {
            "timeout": TIMEOUT_S,
            "metadata": (("authorization", f"Bearer {key}"),) if key else (),
        }

    def on_stop(self) -> None:
        """Hang up."""
        self._channel.close()

    def stop(self, force: bool = False) -> bool:  # noqa: FBT001, FBT002 - as locust has it
        """End after the call in flight; who waits ends by themselves when they have waited, half a second at most."""
        # Locust would kill who waits. If the wait ends in that very moment, the kill hits the call begun after it.
        if not force and self._state == LOCUST_STATE_WAITING:
            self._state = LOCUST_STATE_STOPPING
            return False
        return super().stop(force)

    @task(3)
    def picture(self) -> None:
        """Ask for a picture."""
        with self._measured("Generate") as told:
            told["generation"] = self._images.Generate(self._asked(), **self._how).generation

    @task(1)
    def stream(self) -> None:
        """Ask for a picture and watch it come."""
        request = GenerateStreamRequest(request=self._asked(model="gpt-image-2", quality=QUALITY_LOW, preview_count=1))
        began, seen = time.perf_counter(), False
        with self._measured("GenerateStream") as told:
            for answer in self._images.GenerateStream(request, **self._how):
                if answer.event.preview_chunk.last and not seen:
                    seen = True
                    self._tell("first preview", time.perf_counter() - began)
                if answer.event.HasField("completed"):
                    told["generation"] = answer.event.completed.generation

    def _asked(self, **more: Any) -> GenerateRequest:
        """A fresh id, and no bytes of pictures in the answer."""
        prompt = random.choice(PROMPTS)
        return GenerateRequest(prompt=prompt, request_id=str(uuid.uuid4()), max_inline_bytes=0, **more)

    def _measured(self, name: str) -> "_Measured":
        return _Measured(self, name)

    def _tell(self, name: str, span_s: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="grpc", name=name, response_time=span_s * 1000, response_length=0, exception=error, context={}
        )


class _Measured(dict[str, Any]):
    """Times one call and tells locust how it ended; a call without a picture is a failure, and so is one cut off."""

    def __init__(self, person: Person, name: str) -> None:
        super().__init__()
        self._person, self._name = person, name

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        span = time.perf_counter() - self._began
        generation = self.get("generation")
        failure: Exception | None = None
        if isinstance(error, grpc.RpcError):
            failure = error
        elif error is not None:
            failure = RuntimeError(f"cut off: {type(error).__name__}")
        elif generation is None or not any(output.HasField("image") for output in generation.outputs):
            failure = RuntimeError("no picture")
        self._person._tell(self._name, span, failure)  # noqa: SLF001 - one thing in two classes
        if generation is not None:
            overhead = generation.timings.overhead
            self._person._tell("gateway overhead", overhead.seconds + overhead.nanos / 1e9)  # noqa: SLF001
        return isinstance(error, grpc.RpcError)
