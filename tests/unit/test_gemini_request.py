"""A call in Gemini's words, beyond what the contract suite sends through the sandbox."""

from typing import Any

import pytest

from contract.adapter_rig import MASK_AS_PROMPT, call_of, input_image
from pictord.domain.plan import Adaptation, AdaptationKind
from pictord.domain.request import GenerationRequest, OutputFormat, Resolution
from pictord.providers import gemini_request
from pictord.providers.base import Call

SEED_IGNORED = Adaptation(AdaptationKind.SEED_IGNORED, "7", "")


def body(call: Call, *, vertex: bool = False) -> dict[str, Any]:
    """What would be sent."""
    return gemini_request.body(call, placeholder, vertex=vertex, thinking="minimal")


def placeholder(picture: bytes) -> str:
    """Stands in for a picture, as the transport's placeholders do: base64 of a few bytes."""
    return "c" + str(len(picture)).rjust(3, "0")


def test_nothing_is_asked_but_a_picture() -> None:
    """There are no tools to call, and nothing but one user turn; thinking is minimal."""
    asked = body(call_of("gemini", timeout_s=2.0))

    assert asked == {
        "contents": [{"role": "user", "parts": [{"text": "a lighthouse in fog"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "1:1", "imageSize": "512"},
            "thinkingConfig": {"thinkingLevel": "MINIMAL"},
        },
    }


def test_the_servers_deadline_is_never_too_short() -> None:
    """A timeout below ten seconds would be refused by the engine: ours ends the call."""
    assert gemini_request.options(call_of("gemini", timeout_s=2.0)) == {"timeout": 10_000, "headers": {}}


@pytest.mark.parametrize(
    ("resolution", "literal"),
    [(Resolution.R512, "512"), (Resolution.R1K, "1K"), (Resolution.R2K, "2K"), (Resolution.R4K, "4K")],
)
def test_sizes_are_spelled_as_the_engine_does(resolution: Resolution, literal: str) -> None:
    """512 has no unit, and the K is a capital."""
    asked = body(call_of("gemini", resolution=resolution))

    assert literal == asked["generationConfig"]["imageConfig"]["imageSize"]


@pytest.mark.parametrize(
    ("vertex", "output_format", "sent"),
    [
        (True, OutputFormat.PNG, {"mimeType": "image/png"}),
        (True, OutputFormat.JPEG, {"mimeType": "image/jpeg", "compressionQuality": 60}),
        (True, OutputFormat.WEBP, {}),
        (False, OutputFormat.JPEG, {}),
    ],
    ids=["Vertex PNG", "Vertex JPEG", "Vertex has no WebP", "Developer API"],
)
def test_the_encoding_is_asked_for_where_it_can_be(
    *, vertex: bool, output_format: OutputFormat, sent: dict[str, object]
) -> None:
    """The Developer API chooses by itself; Vertex takes PNG, or JPEG with a quality."""
    request = GenerationRequest("a fox", output_compression=60)

    asked = body(call_of("gemini", request, output_format=output_format), vertex=vertex)

    encoding = {"imageOutputOptions": sent} if sent else {}
    assert {"aspectRatio": "1:1", "imageSize": "512", **encoding} == asked["generationConfig"]["imageConfig"]


def test_an_ignored_seed_is_not_sent() -> None:
    """What the plan says is ignored is left out."""
    request = GenerationRequest("a fox", seed=7)

    sent = body(call_of("gemini", request))
    ignored = body(call_of("gemini", request, adaptations=(SEED_IGNORED,)))

    assert sent["generationConfig"]["seed"] == 7
    assert "seed" not in ignored["generationConfig"]


def test_a_mask_goes_only_as_the_plan_says() -> None:
    """Without the adaptation a mask is not smuggled in."""
    request = GenerationRequest("a fox", image=input_image(), mask=input_image(mode="RGBA"))

    plain = body(call_of("gemini", request))["contents"][0]["parts"]
    masked = body(call_of("gemini", request, adaptations=(MASK_AS_PROMPT,)))["contents"][0]["parts"]

    assert [list(part) for part in plain] == [["inlineData"], ["text"]]
    assert [list(part) for part in masked] == [["inlineData"], ["inlineData"], ["text"], ["text"]]
    assert masked[2:] == [{"text": gemini_request.MASK_INSTRUCTION}, {"text": "a fox"}]
