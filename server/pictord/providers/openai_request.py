"""A call in the Images API's words: the keyword arguments of `images.generate` and `images.edit`.

What is never sent, and why: `n` other than 1 (an attempt is one picture), `quality=auto` and `size=auto` (neither price
nor pixels would be known), `input_fidelity` (gpt-image-2 answers 400 even to null), `response_format` and `style` (not
for GPT image models), `user` (deprecated).

Source: openai 3.54.0 `types/image_generate_params.py` and `types/image_edit_params.py`, read 2026-11-22.
"""

from collections.abc import Iterable
from typing import Any

from pictord.domain.plan import AdaptationKind
from pictord.domain.request import Background, InputImage, OutputFormat
from pictord.providers.base import Call

NamedPart = tuple[str, bytes, str]
"""File name, bytes and media type: without both a part goes out as octet-stream, which the API refuses."""

_COMPRESSIBLE = frozenset({OutputFormat.JPEG, OutputFormat.WEBP})


def arguments(call: Call) -> dict[str, Any]:
    """Everything of the request but its pictures.

    Raises:
        ValueError: the candidate has no quality; the catalog gives gpt-image models one.
    """
    request, candidate = call.request, call.candidate
    if candidate.quality is None:
        raise ValueError(f"{candidate.model} needs an explicit quality")
    width, height = candidate.size_px
    asked: dict[str, Any] = {
        "model": candidate.snapshot,
        "prompt": request.prompt,
        "n": 1,
        "size": f"{width}x{height}",
        "quality": candidate.quality.value,
        "output_format": candidate.output_format.value,
    }
    if request.output_compression is not None and candidate.output_format in _COMPRESSIBLE:
        asked["output_compression"] = request.output_compression
    if request.background is not None:
        asked["background"] = _background(call, request.background)
    if call.end_user is not None:
        asked["safety_identifier"] = call.end_user
    return asked


def pictures(call: Call) -> dict[str, NamedPart | list[NamedPart]]:
    """The `image` and `mask` parts of an edit; empty if the call has no input picture, and so is no edit."""
    images = list(_named(call.request.input_images))
    if not images:
        return {}
    parts: dict[str, NamedPart | list[NamedPart]] = {"image": images[0] if len(images) == 1 else images}
    if call.request.mask is not None:
        parts["mask"] = ("mask.png", call.request.mask.data, call.request.mask.mime)
    return parts


def streaming(call: Call) -> dict[str, Any]:
    """The arguments that ask for partial images."""
    return {"stream": True, "partial_images": call.candidate.previews}


def _background(call: Call, asked: Background) -> str:
    opaque = any(adaptation.kind is AdaptationKind.BACKGROUND_OPAQUE for adaptation in call.candidate.adaptations)
    return (Background.OPAQUE if opaque else asked).value


def _named(images: Iterable[InputImage]) -> Iterable[NamedPart]:
    for index, image in enumerate(images):
        yield f"image-{index}.{image.mime.removeprefix('image/')}", image.data, image.mime
