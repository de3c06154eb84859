"""`pictord serve --sandbox` with an overlay: what the operator adds is drawn, at the overlay's prices and sizes."""

from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from gateway import NO_LIMIT, Gateway
from pictor.v1 import image_pb2
from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord import app, simulation
from pictord.settings import Settings

NEWER = Path(__file__).parents[1] / "unit/test_catalog_newer"
FLARE, NANO_2_1 = "gpt-image-2.5-flare", "gemini-nano-banana-2.1"


@pytest.fixture
async def pictor():
    on_no_port = {"listen": "127.0.0.1:0", "admin_listen": None, "http_listen": None}
    settings = Settings(**on_no_port, sandbox=True, overlay=NEWER, drain_s=0.0)
    async with AsyncExitStack() as stack:
        ready, engines = await stack.enter_async_context(simulation.simulated(settings, 0))
        running = await stack.enter_async_context(app.build(ready))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.address, options=NO_LIMIT))
        yield Gateway(running, engines, channel)


@pytest.mark.parametrize(
    ("request_", "model", "px"),
    [
        (GenerateRequest(prompt="a fox"), NANO_2_1, (1024, 1024)),
        (
            GenerateRequest(prompt="a fox", canvas={"ratio": "9:16", "resolution": "RESOLUTION_2K"}),
            NANO_2_1,
            (1536, 2752),
        ),
        (GenerateRequest(prompt="a fox", model=FLARE, canvas={"resolution": "RESOLUTION_512"}), FLARE, (512, 512)),
        (
            GenerateRequest(prompt="a fox", model=FLARE, background=image_pb2.BACKGROUND_TRANSPARENT),
            FLARE,
            (1024, 1024),
        ),
    ],
    ids=["by its row", "from its table of sizes", "smaller than its relative can", "transparent"],
)
async def test_a_model_of_the_overlay_is_drawn(pictor, caplog, request_, model, px):
    """In its own sizes, for what the overlay says it costs, and never for more than was held."""
    generation = (await pictor.images.Generate(request_)).generation

    (attempt,) = generation.attempts
    image = generation.outputs[0].image
    assert generation.state == Generation.STATE_SUCCEEDED
    assert (attempt.model, image.width_px, image.height_px) == (model, *px)
    assert generation.cost.amount.nanos == pictor.charged_nanos() > 0
    assert "overrun" not in caplog.text


async def test_serve_hands_the_sandboxs_check_to_the_gateway(pictor):
    """A mistyped fault is refused by the gateway itself, and no engine hears of it."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pictor.images.Generate(GenerateRequest(prompt="a fox"), metadata=[("x-sandbox-fault", "nope")])

    assert "metadata x-sandbox-fault: no fault 'nope'" in refused.value.details()
    assert len(pictor.sandbox.requests) == 0


def test_without_an_overlay_nothing_is_described():
    """The sandbox's own tables are enough for the shipped models."""
    assert simulation.models(None) == ()
