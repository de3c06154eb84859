"""What a refusal by the engine costs, and that the error says so: the README's line about CONTENT_POLICY."""

import grpc
import pytest

from gateway import GPT, NANO, gateway, refusal
from pictor.v1.image_service_pb2 import GenerateRequest


@pytest.mark.parametrize(
    ("model", "fault", "billed"),
    [
        (GPT, "openai:moderation_blocked", False),
        (NANO, "gemini:finish_reason;reason=IMAGE_SAFETY", True),
        (NANO, "gemini:block_reason", True),
        (NANO, "gemini:finish_reason;reason=IMAGE_SAFETY, gemini:missing_usage", False),
    ],
    ids=["gpt-image-2", "Nano Banana 2", "its filter of prompts", "without usage"],
)
async def test_a_refusal_costs_what_the_engine_reports(model, fault, billed):
    """gpt-image-2 reports nothing, Nano Banana 2 the prompt's tokens; then the error says `paid`."""
    async with gateway() as pictor:
        request = GenerateRequest(prompt="Something unsafe", model=model)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pictor.images.Generate(request, metadata=(("x-sandbox-fault", fault),))
        refused = refusal(caught.value)
        generation = await pictor.get(refused.metadata["generation_id"])

    spent = generation.cost.amount.nanos
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "CONTENT_POLICY")
    assert (refused.metadata.get("paid"), refused.trailers.get("grpc-retry-pushback-ms")) == (
        ("true", "-1") if billed else (None, None)
    )
    assert (spent > 0) == billed
    assert spent < 10_000
