"""A call in the Images API's words, beyond what the contract suite sends through the sandbox."""

from dataclasses import replace

import pytest

from contract.adapter_rig import call_of, input_image
from pictord.domain.plan import Adaptation, AdaptationKind
from pictord.domain.request import Background, GenerationRequest, OutputFormat
from pictord.providers import openai_request

OPAQUE = Adaptation(AdaptationKind.BACKGROUND_OPAQUE, "transparent", "opaque")


def test_only_what_was_asked_is_sent() -> None:
    """A prompt alone leaves out every optional argument: a null would be an error, or a guess of ours."""
    asked = openai_request.arguments(call_of("openai", GenerationRequest("a fox")))

    assert set(asked) == {"model", "prompt", "n", "size", "quality", "output_format"}


def test_quality_is_never_left_to_the_provider() -> None:
    """Without a quality there is no price: such a candidate is our mistake, and is not sent."""
    with pytest.raises(ValueError, match="explicit quality"):
        openai_request.arguments(call_of("openai", quality=None))


@pytest.mark.parametrize(
    ("output_format", "sent"), [(OutputFormat.PNG, False), (OutputFormat.JPEG, True), (OutputFormat.WEBP, True)]
)
def test_compression_goes_only_with_formats_that_have_it(output_format: OutputFormat, *, sent: bool) -> None:
    """PNG with a compression would be refused."""
    request = GenerationRequest("a fox", output_compression=60)

    asked = openai_request.arguments(call_of("openai", request, output_format=output_format))

    assert ("output_compression" in asked) is sent


def test_an_adapted_background_is_sent_as_adapted() -> None:
    """What the plan says is delivered is what is asked for."""
    request = GenerationRequest("a fox", background=Background.TRANSPARENT)

    assert openai_request.arguments(call_of("openai", request))["background"] == "transparent"
    assert openai_request.arguments(call_of("openai", request, adaptations=(OPAQUE,)))["background"] == "opaque"


def test_every_picture_is_a_named_part_with_its_type() -> None:
    """Without a name and a type the API takes a part for octet-stream, and refuses it."""
    image, reference, mask = input_image(1), input_image(2, kind="WEBP"), input_image(mode="RGBA")
    request = GenerationRequest("a fox", image=image, mask=mask)

    alone = openai_request.pictures(call_of("openai", request))
    several = openai_request.pictures(call_of("openai", replace(request, references=(reference,))))

    assert alone == {
        "image": ("image-0.png", image.data, "image/png"),
        "mask": ("mask.png", mask.data, "image/png"),
    }
    assert several["image"] == [
        ("image-0.png", image.data, "image/png"),
        ("image-1.webp", reference.data, "image/webp"),
    ]
    assert openai_request.pictures(call_of("openai")) == {}
