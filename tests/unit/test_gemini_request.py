"""A call in Gemini's words, beyond what the contract suite sends through the sandbox."""

import pytest

from contract.adapter_rig import MASK_AS_PROMPT, call_of, input_image
from pictord.domain.plan import Adaptation, AdaptationKind
from pictord.domain.request import GenerationRequest, OutputFormat, Resolution
from pictord.providers import gemini_request

SEED_IGNORED = Adaptation(AdaptationKind.SEED_IGNORED, "7", "")


def placeholder(picture: bytes) -> str:
    """Stands in for a picture, as the transport's placeholders do: base64 of a few bytes."""
    return "c" + str(len(picture)).rjust(3, "0")


def test_nothing_can_make_the_sdk_send_twice() -> None:
    """Continuation and function calling are off, thinking is minimal, the server's deadline is never too short."""
    asked = gemini_request.config(call_of("gemini", timeout_s=2.0), vertex=False, thinking="minimal")

    assert asked == {
        "response_modalities": ["IMAGE"],
        "image_config": {"aspect_ratio": "1:1", "image_size": "512"},
        "thinking_config": {"thinking_level": "MINIMAL"},
        "automatic_continuation": False,
        "automatic_function_calling": {"disable": True},
        "http_options": {"timeout": 10_000, "headers": {}},
    }


@pytest.mark.parametrize(
    ("resolution", "literal"),
    [(Resolution.R512, "512"), (Resolution.R1K, "1K"), (Resolution.R2K, "2K"), (Resolution.R4K, "4K")],
)
def test_sizes_are_spelled_as_the_engine_does(resolution: Resolution, literal: str) -> None:
    """512 has no unit, and the K is a capital."""
    asked = gemini_request.config(call_of("gemini", resolution=resolution), vertex=False, thinking="minimal")

    assert literal == asked["image_config"]["image_size"]


@pytest.mark.parametrize(
    ("vertex", "output_format", "sent"),
    [
        (True, OutputFormat.PNG, {"output_mime_type": "image/png"}),
        (True, OutputFormat.JPEG, {"output_mime_type": "image/jpeg", "output_compression_quality": 60}),
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

    asked = gemini_request.config(
        call_of("gemini", request, output_format=output_format), vertex=vertex, thinking="minimal"
    )

    assert {"aspect_ratio": "1:1", "image_size": "512", **sent} == asked["image_config"]


def test_an_ignored_seed_is_not_sent() -> None:
    """What the plan says is ignored is left out."""
    request = GenerationRequest("a fox", seed=7)

    sent = gemini_request.config(call_of("gemini", request), vertex=False, thinking="minimal")
    ignored = gemini_request.config(
        call_of("gemini", request, adaptations=(SEED_IGNORED,)), vertex=False, thinking="minimal"
    )

    assert sent["seed"] == 7
    assert "seed" not in ignored


def test_a_mask_goes_only_as_the_plan_says() -> None:
    """Without the adaptation a mask is not smuggled in."""
    request = GenerationRequest("a fox", image=input_image(), mask=input_image(mode="RGBA"))

    plain = gemini_request.contents(call_of("gemini", request), placeholder)
    masked = gemini_request.contents(call_of("gemini", request, adaptations=(MASK_AS_PROMPT,)), placeholder)

    assert [list(part) for part in plain["parts"]] == [["inline_data"], ["text"]]
    assert [list(part) for part in masked["parts"]] == [["inline_data"], ["inline_data"], ["text"], ["text"]]
    assert masked["parts"][2:] == [{"text": gemini_request.MASK_INSTRUCTION}, {"text": "a fox"}]
