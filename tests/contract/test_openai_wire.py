"""The OpenAI adapter takes the head of its requests from the SDK once: they are held to what the SDK sends."""

import openai
import pytest

from contract.adapter_rig import ADAPTERS, KEY, call_of, drawn
from contract.recorder import recording
from pictord.domain.request import GenerationRequest

PROMPT = "a fox, “très chic” 🦊"
HEADERS = {"x-client-request-id": "att_1", "x-stainless-lang": "ours"}


async def test_what_leaves_is_what_the_sdk_would_send() -> None:
    """Method, path, headers and JSON are the SDK's, at the first call and at later ones, whatever came before."""
    calls = (
        call_of("openai", GenerationRequest(PROMPT), headers=HEADERS),
        call_of("openai", GenerationRequest(PROMPT)),
        call_of("openai", GenerationRequest(PROMPT), timeout_s=90.0),
        call_of("openai", GenerationRequest(PROMPT), headers=HEADERS),
    )
    async with recording() as recorder:
        adapter = ADAPTERS["openai"](recorder.address)
        for call in calls:
            await drawn(adapter, call)
        await adapter.close()
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{recorder.address}/v1", max_retries=0) as sdk:
            for call in calls:
                with pytest.raises(openai.BadRequestError):
                    await sdk.images.generate(
                        model=call.candidate.snapshot,
                        prompt=PROMPT,
                        n=1,
                        size="1024x640",
                        quality="low",
                        output_format="png",
                        extra_headers=dict(call.headers),
                        timeout=call.candidate.timeout_s,
                    )

    ours, theirs = recorder.seen[: len(calls)], recorder.seen[len(calls) :]
    assert ours == theirs
