"""A call in Gemini's words: the JSON body of `generateContent`.

The SDK gets to it through two trees of models, and spends a millisecond of every call on them; a test compares what
leaves with what the SDK's own `generate_content` sends for the same arguments.

What is never sent, and why: `candidateCount` (more than one is refused), `labels` (the Developer API refuses them),
a system instruction (some image models refuse it), an unset aspect ratio (the default is not the documented one).

Source: ai.google.dev/gemini-api/docs/image-generation, google-genai 3.4.0 `models.py`, read 2026-11-22.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pictord.domain.plan import AdaptationKind, Candidate
from pictord.domain.request import InputImage, OutputFormat
from pictord.providers.base import Call

Attach = Callable[[bytes], str]
"""Keeps a picture out of the SDK; returns base64 text that the transport replaces by the picture's."""

MASK_INSTRUCTION = (
    "The picture right before this text is a mask for the first picture, and no picture to draw from. "
    "Change the first picture only where the mask is fully transparent; "
    "keep everything else of it exactly as it is. Do not show the mask."
)
"""What stands in for a mask on an engine that has none (MASK_AS_PROMPT).

The mask follows OpenAI's convention, which our contract has: transparent pixels mark the area to change. The text is
fixed and a part of its own: the caller's prompt is never edited, and the same request is the same request again.
"""

_SHORTEST_SERVER_TIMEOUT_S = 10.0
"""Below this `X-Server-Timeout` is answered with 400 (livekit/agents#3723) or 500 (python-genai#1330)."""

_VERTEX_FORMATS = frozenset({OutputFormat.PNG, OutputFormat.JPEG})


def body(call: Call, attach: Attach, *, vertex: bool, thinking: str) -> dict[str, Any]:
    """The whole request. Tools and `systemInstruction` are never in it, so nothing makes the engine ask back."""
    asked: dict[str, Any] = {
        "responseModalities": ["IMAGE"],
        "imageConfig": _image_config(call, vertex=vertex),
        "thinkingConfig": {"thinkingLevel": thinking.upper()},
    }
    if call.request.seed is not None and not _adapts(call.candidate, AdaptationKind.SEED_IGNORED):
        asked["seed"] = call.request.seed
    return {"contents": [_contents(call, attach)], "generationConfig": asked}


def options(call: Call) -> dict[str, Any]:
    """The SDK's HTTP options for this call: milliseconds, and headers."""
    timeout_s = max(call.candidate.timeout_s, _SHORTEST_SERVER_TIMEOUT_S)
    return {"timeout": int(1000 * timeout_s), "headers": dict(call.headers)}


def _contents(call: Call, attach: Attach) -> dict[str, Any]:
    """One user turn: the picture to edit, the references, the mask with its instruction, and the prompt as it came."""
    request = call.request
    parts = [_picture(image, attach) for image in request.input_images]
    if request.mask is not None and _adapts(call.candidate, AdaptationKind.MASK_AS_PROMPT):
        parts += [_picture(request.mask, attach), {"text": MASK_INSTRUCTION}]
    return {"role": "user", "parts": [*parts, {"text": request.prompt}]}


def _image_config(call: Call, *, vertex: bool) -> Mapping[str, Any]:
    candidate = call.candidate
    # The literals are 512, 1K, 2K and 4K: a lower-case k, or 512px, is refused or ignored (python-genai#2110).
    asked: dict[str, Any] = {
        "aspectRatio": str(candidate.ratio),
        "imageSize": candidate.resolution.value.upper(),
    }
    # The Developer API cannot choose.
    if vertex and candidate.output_format in _VERTEX_FORMATS:
        encoding: dict[str, Any] = {"mimeType": candidate.output_format.mime}
        if candidate.output_format is OutputFormat.JPEG and call.request.output_compression is not None:
            encoding["compressionQuality"] = call.request.output_compression
        asked["imageOutputOptions"] = encoding
    return asked


def _picture(image: InputImage, attach: Attach) -> dict[str, Any]:
    return {"inlineData": {"data": attach(image.data), "mimeType": image.mime}}


def _adapts(candidate: Candidate, kind: AdaptationKind) -> bool:
    return any(adaptation.kind is kind for adaptation in candidate.adaptations)
