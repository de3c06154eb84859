"""Reading and checking a generateContent request as Google's proto3 JSON takes it.

Keys may be camelCase or snake_case at every level, base64 may use either alphabet.
Source: ai.google.dev/gemini-api/docs/image-generation, google-genai 3.4.0 `models.py`; error texts: bodies pasted in
vercel/ai#12911, python-genai#2110, livekit/agents#3723; read 2026-11-22. Texts that no source shows follow the
wording of the neighbouring ones.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter
import pybase64
from PIL import Image, UnidentifiedImageError

from pictord.sandbox import tables
from pictord.sandbox.fault import Refusal
from pictord.sandbox.gemini_faults import GOOGLE_TYPE, status_error

BODY = {
    "contents", "system_instruction", "safety_settings", "generation_config", "tools", "tool_config", "service_tier",
    "cached_content",
}  # fmt: skip
CONFIG = {
    "response_modalities", "image_config", "thinking_config", "candidate_count", "seed", "temperature", "top_p",
    "top_k", "max_output_tokens", "media_resolution", "stop_sequences", "response_mime_type",
}  # fmt: skip
IMAGE_CONFIG = {"aspect_ratio", "image_size"}
DEVELOPER_ONLY = {"store"}
VERTEX_BODY = {"labels", "output_config"}
VERTEX_IMAGE_CONFIG = {"person_generation", "prominent_people", "image_output_options"}
PICTURE_TYPES = {"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}
FINEST_JPEG = 99  # recorded ones have quantisation tables of ones
VERTEX_MIMES = {"image/png": "png", "image/jpeg": "jpeg"}
PILLOW_MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True)
class Inline:
    """One picture in the request."""

    path: str
    mime: str
    data: bytes
    size: tuple[int, int] = (0, 0)


@dataclass
class Form:
    """A request as read, before the checks of its values."""

    body: dict[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    images: list[Inline] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """A checked request."""

    model: tables.Model
    texts: tuple[str, ...]
    images: tuple[bytes, ...]
    ratio: str
    size: str
    pixels: tuple[int, int]
    output_format: str
    output_quality: int
    wants_image: bool
    wants_text: bool
    thinking: bool
    include_thoughts: bool
    seed: int | None

    @property
    def prompt(self) -> str:
        """What the picture is titled with: the last text part, as instructions go before what is asked."""
        return self.texts[-1] if self.texts else ""


def invalid(text: str) -> Refusal:
    """400 INVALID_ARGUMENT."""
    return status_error(400, text)


def read(body: bytes) -> Form:
    """Read a request.

    Raises:
        Refusal: no JSON object, or base64 that is none.
    """
    try:
        parsed = jiter.from_json(body)
    except ValueError as problem:
        raise invalid(f"Invalid JSON payload received. {problem}") from None
    if not isinstance(parsed, dict):
        raise invalid("Invalid JSON payload received. Expected an object.")
    form = Form(snake(parsed))
    contents = form.body.get("contents") or []
    for turn, content in enumerate(contents if isinstance(contents, list) else [contents]):
        _read_content(form, turn, content)
    return form


def _read_content(form: Form, turn: int, content: Any) -> None:
    if not isinstance(content, dict):
        raise invalid(f"Invalid value at 'contents[{turn}]' (type.googleapis.com/google.ai.generativelanguage.Content)")
    for index, part in enumerate(content.get("parts") or []):
        path = f"contents[{turn}].parts[{index}]"
        if isinstance(part.get("text"), str) and content.get("role", "user") == "user":
            form.texts.append(part["text"])
        if "inline_data" in part:
            if content.get("role") == "model" and not part.get("thought_signature"):
                raise invalid(
                    "Image part is missing a thought_signature in content position "
                    f"{turn + 1}, part position {index + 1}. Please refer to "
                    "https://ai.google.dev/gemini-api/docs/thought-signatures#model-behavior for more details."
                )
            form.images.append(_inline(path, part["inline_data"]))


def _inline(path: str, blob: Mapping[str, Any]) -> Inline:
    text = str(blob.get("data", ""))
    try:
        data = pybase64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        what = f'Base64 decoding failed for "{text[:40]}"'
        raise invalid(f"Invalid value at '{path}.inline_data.data' (TYPE_BYTES), {what}") from None
    return Inline(path, str(blob.get("mime_type", "")), data)


def snake(value: Any) -> Any:
    """`value` with every key of every object in snake_case."""
    if isinstance(value, dict):
        return {
            re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key): snake(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [snake(item) for item in value]
    return value


def check(form: Form, model: tables.Model, *, vertex: bool) -> Job:
    """Turn a form into a job.

    Raises:
        Refusal: anything that the API refuses.
    """
    limits = tables.limits(model)
    config = form.body.get("generation_config") or {}
    image_config = config.get("image_config") or {}
    _check_names(form.body, config, image_config, vertex=vertex)
    if not form.texts and not form.images:
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    _check_count(config, vertex=vertex)
    images = [_checked_image(image, limits, vertex=vertex) for image in form.images]
    if len(images) > limits["most_images"]:
        raise invalid(f"Too many images in the request: {len(images)}. The maximum is {limits['most_images']}.")
    ratio = _ratio(image_config, images, limits)
    size = _size(image_config, limits, ratio)
    thinking = config.get("thinking_config") or {}
    modalities = _modalities(config)
    output_format, quality = _output(image_config, limits["default_mime"]["vertex" if vertex else "developer"])
    width, height = limits["pixels"][ratio][size]
    return Job(
        model=model,
        texts=tuple(form.texts),
        images=tuple(image.data for image in images),
        ratio=ratio,
        size=size,
        pixels=(width, height),
        output_format=output_format,
        output_quality=quality,
        wants_image="IMAGE" in modalities,
        wants_text="TEXT" in modalities,
        thinking=_thinks(thinking),
        include_thoughts=bool(thinking.get("include_thoughts")),
        seed=config.get("seed"),
    )


def _check_names(
    body: Mapping[str, Any], config: Mapping[str, Any], image_config: Mapping[str, Any], *, vertex: bool
) -> None:
    known = (BODY | VERTEX_BODY) if vertex else (BODY | DEVELOPER_ONLY)
    known_image = IMAGE_CONFIG | VERTEX_IMAGE_CONFIG if vertex else IMAGE_CONFIG
    for place, fields, names in (
        ("", body, known),
        ("generation_config", config, CONFIG),
        ("generation_config.image_config", image_config, known_image),
    ):
        for name in fields:
            if name not in names:
                raise _unknown_name(name, place)


def _unknown_name(name: str, place: str) -> Refusal:
    at = f" at '{place}'" if place else ""
    text = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
    violation = {"field": place, "description": text}
    return status_error(400, text, details=[{"@type": GOOGLE_TYPE + "BadRequest", "fieldViolations": [violation]}])


def _check_count(config: Mapping[str, Any], *, vertex: bool) -> None:
    count = config.get("candidate_count", 1)
    if count == 1:
        return
    if vertex:
        raise invalid(f"candidateCount must be 1 but the entered value was {count}")
    raise invalid("Multiple candidates is not enabled for this model")


def _modalities(config: Mapping[str, Any]) -> set[str]:
    modalities = {str(name).upper() for name in config.get("response_modalities") or ["TEXT", "IMAGE"]}
    if odd := modalities - {"TEXT", "IMAGE"}:
        raise invalid(f"The requested combination of response modalities is not supported by the model: {sorted(odd)}")
    return modalities


def _ratio(image_config: Mapping[str, Any], images: list[Inline], limits: Mapping[str, Any]) -> str:
    pixels: dict[str, dict[str, list[int]]] = limits["pixels"]
    ratio = image_config.get("aspect_ratio")
    if ratio is None and images:
        shape = images[0].size[0] / images[0].size[1]
        return min(pixels, key=lambda name: abs(pixels[name]["1K"][0] / pixels[name]["1K"][1] / shape - 1))
    ratio = ratio or limits["default_ratio"]
    if ratio not in pixels:
        allowed = ", ".join(pixels)
        raise invalid(f"aspect_ratio must be one of the following: {allowed}. Received: '{ratio}'.")
    return str(ratio)


def _size(image_config: Mapping[str, Any], limits: Mapping[str, Any], ratio: str) -> str:
    size, sizes = image_config.get("image_size") or limits["default_size"], limits["pixels"][ratio]
    if size not in sizes:
        raise invalid(f"image_size must be one of the following: {', '.join(sizes)}. Received: '{size}'.")
    return str(size)


def _thinks(thinking: Mapping[str, Any]) -> bool:
    if "thinking_budget" in thinking:
        raise invalid("Thinking budget is not supported for this model. Please use thinking level instead.")
    level = str(thinking.get("thinking_level") or "minimal").lower()
    if level not in ("minimal", "high"):
        raise invalid(f"'{level}' is not a supported thinking level for this model. Allowed values are: minimal, high.")
    return level == "high"


def _output(image_config: Mapping[str, Any], default_mime: str) -> tuple[str, int]:
    options = image_config.get("image_output_options") or {}
    mime = options.get("mime_type") or default_mime
    if mime not in VERTEX_MIMES:
        raise invalid(f"Unsupported output mime type: {mime}. Supported: image/png, image/jpeg.")
    quality = options.get("compression_quality")
    if quality is not None and mime != "image/jpeg":
        raise invalid("compressionQuality is only supported for image/jpeg.")
    return VERTEX_MIMES[mime], FINEST_JPEG if quality is None else int(quality)


def _checked_image(image: Inline, limits: Mapping[str, Any], *, vertex: bool) -> Inline:
    if image.mime not in PICTURE_TYPES:
        raise invalid(f"Unsupported MIME type: {image.mime}")
    if vertex and len(image.data) > limits["vertex_inline_bytes"]:
        raise invalid("The inline data exceeds the limit of 7 MB.")
    try:
        with Image.open(io.BytesIO(image.data)) as picture:
            picture.load()
            size, true_mime = picture.size, PILLOW_MIME.get(picture.format or "", "application/octet-stream")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        text = "Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
        raise invalid(text) from None
    if true_mime != image.mime:
        raise invalid(f"Unhandled generated data mime type: {true_mime}")
    return Inline(image.path, image.mime, image.data, size)
