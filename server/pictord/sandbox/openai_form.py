"""Reading and checking a request of the OpenAI Images API, with the real texts of its refusals.

Source: openai 3.54.0 `types/image_generate_params.py`, `types/image_edit_params.py`; error texts: bodies pasted in
openai-python#2341, backblaze-labs/genblaze#253, prism-php#725; read 2026-11-22. Texts that no source shows follow the
wording of the neighbouring ones.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter
from aiohttp import BodyPartReader, web
from PIL import Image, UnidentifiedImageError

from pictord.sandbox import openai_faults, tables
from pictord.sandbox.fault import Refusal
from pictord.sandbox.openai_faults import error

USER_ERROR = "image_generation_user_error"
SHARED = {
    "prompt", "model", "n", "size", "quality", "background", "output_format", "output_compression",
    "stream", "partial_images", "safety_identifier", "user",
}  # fmt: skip
KNOWN = {"generate": SHARED | {"moderation"}, "edit": SHARED}
CHOICES = {
    "quality": ("low", "medium", "high", "auto"),
    "background": ("transparent", "opaque", "auto"),
    "output_format": ("png", "jpeg", "webp"),
    "moderation": ("low", "auto"),
}
PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")


@dataclass
class Upload:
    """One file of a multipart request."""

    name: str
    mime: str
    data: bytes
    is_file: bool = True


@dataclass
class Form:
    """A request as read, before any check."""

    fields: dict[str, Any] = field(default_factory=dict)
    images: list[Upload] = field(default_factory=list)
    mask: Upload | None = None
    listed: bool = False
    """Whether the pictures came as `image[]`."""

    @property
    def prompt(self) -> str:
        """The prompt, or nothing if it is missing or no text."""
        prompt = self.fields.get("prompt")
        return prompt if isinstance(prompt, str) else ""


@dataclass(frozen=True)
class Job:
    """A checked request."""

    prompt: str
    model: tables.Model
    size: tuple[int, int]
    quality: str
    count: int
    background: str
    output_format: str
    compression: int
    stream: bool
    partials: int
    images: tuple[bytes, ...]
    image_sizes: tuple[tuple[int, int], ...]
    mask: bytes | None
    safety_identifier: str | None


async def read_json(request: web.Request) -> Form:
    """Read a generation request.

    Raises:
        Refusal: not JSON.
    """
    if request.content_type != "application/json":
        text = f"Unsupported content type: '{request.content_type}'. This API method only accepts 'application/json'."
        raise Refusal(400, error(text, code="unsupported_content_type"))
    try:
        body = jiter.from_json(await request.read())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, error("We could not parse the JSON body of your request."))
    present = {name: value for name, value in body.items() if value is not None or name == "input_fidelity"}
    return Form(present)


async def read_multipart(request: web.Request) -> Form:
    """Read an edit request.

    Raises:
        Refusal: not multipart.
    """
    if request.content_type != "multipart/form-data":
        text = (
            f"Unsupported content type: '{request.content_type}'. This API method only accepts 'multipart/form-data'."
        )
        raise Refusal(400, error(text, code="unsupported_content_type"))
    form = Form()
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader):
            await _read_part(form, part)
    return form


async def _read_part(form: Form, part: BodyPartReader) -> None:
    name, data = part.name or "", bytes(await part.read())
    if name in ("image", "image[]"):
        mime = part.headers.get("content-type", "")
        form.images.append(Upload(name, mime, data, is_file=part.filename is not None))
        form.listed = form.listed or name == "image[]"
    elif name == "mask":
        form.mask = Upload(name, part.headers.get("content-type", ""), data, is_file=part.filename is not None)
    else:
        form.fields[name] = data.decode("utf-8", "replace")


def check(form: Form, operation: str, models: Mapping[str, tables.Model], *, transparent_allowed: bool) -> Job:
    """Turn a form into a job.

    Raises:
        Refusal: anything that the API refuses, worded as it does.
    """
    _check_names(form, operation)
    prompt = _prompt(form, tables.read("sizes.toml")["openai"]["most_prompt_characters"])
    model = _model(form, models)
    limits = tables.limits(model)
    choices = {name: _choice(form.fields, name) for name in CHOICES}
    stream = _flag(form.fields, "stream")
    count = _integer(form.fields, "n", 1, limits["most_n"], default=1)
    partials = _integer(form.fields, "partial_images", 0, limits["most_partials"], default=0)
    if stream and count > 1:
        raise _invalid("Streaming is only supported when 'n' is 1.", "n")
    output_format, compression = _encoding(form.fields, choices["output_format"])
    transparent_allowed = transparent_allowed or limits["transparent_background"]
    _check_background(choices["background"], output_format, allowed=transparent_allowed)
    image_sizes = _images(form, limits) if operation == "edit" else ()
    mask = _mask(form, image_sizes, limits) if form.mask else None
    safety_identifier = form.fields.get("safety_identifier") or form.fields.get("user")
    return Job(
        prompt=prompt,
        model=model,
        size=_size(form.fields.get("size", "auto"), limits, image_sizes),
        quality=choices["quality"] if choices["quality"] in ("low", "medium", "high") else "high",
        count=count,
        background="transparent" if choices["background"] == "transparent" else "opaque",
        output_format=output_format,
        compression=compression,
        stream=stream,
        partials=partials if stream else 0,
        images=tuple(upload.data for upload in form.images),
        image_sizes=image_sizes,
        mask=mask,
        safety_identifier=safety_identifier,
    )


def _invalid(text: str, param: str, code: str = "invalid_value", kind: str = "invalid_request_error") -> Refusal:
    return Refusal(400, error(text, kind=kind, param=param, code=code))


def _check_names(form: Form, operation: str) -> None:
    if "input_fidelity" in form.fields:
        text = "The model 'gpt-image-2' does not support the 'input_fidelity' parameter."
        raise _invalid(text, "input_fidelity", "invalid_input_fidelity_model", USER_ERROR)
    for name in form.fields:
        if name not in KNOWN[operation]:
            raise _invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _prompt(form: Form, longest: int) -> str:
    prompt = form.fields.get("prompt")
    if prompt is None:
        raise _invalid("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")
    if not isinstance(prompt, str):
        text = f"Invalid type for 'prompt': expected a string, but got {type(prompt).__name__} instead."
        raise _invalid(text, "prompt", "invalid_type")
    if not prompt:
        text = (
            "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string instead."
        )
        raise _invalid(text, "prompt", "empty_string")
    if len(prompt) > longest:
        text = (
            f"Invalid 'prompt': string too long. Expected a string with maximum length {longest}, but got a string "
            f"with length {len(prompt)} instead."
        )
        raise _invalid(text, "prompt", "string_above_max_length")
    return prompt


def _model(form: Form, models: Mapping[str, tables.Model]) -> tables.Model:
    name = form.fields.get("model")
    if not name:
        raise _invalid("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    model = models.get(name) if isinstance(name, str) else None
    if model is None:
        raise openai_faults.model_not_found(str(name))
    return model


def _choice(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "png" if name == "output_format" else "auto")
    if value not in CHOICES[name]:
        *most, last = (f"'{choice}'" for choice in CHOICES[name])
        text = f"Invalid value: '{value}'. Supported values are: {', '.join(most)}, and {last}."
        raise _invalid(text, name)
    return str(value)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise _invalid(f"Invalid type for '{name}': expected a boolean, but got {value!r} instead.", name, "invalid_type")


def _integer(fields: Mapping[str, Any], name: str, least: int, most: int, *, default: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        text = f"Invalid type for '{name}': expected an integer, but got {value!r} instead."
        raise _invalid(text, name, "invalid_type")
    if value < least:
        text = f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        raise _invalid(text, name, "integer_below_min_value")
    if value > most:
        text = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead."
        raise _invalid(text, name, "integer_above_max_value")
    return value


def _encoding(fields: Mapping[str, Any], output_format: str) -> tuple[str, int]:
    compression = _integer(fields, "output_compression", 0, 100, default=100)
    if "output_compression" in fields and output_format == "png":
        text = "Compression is not supported for PNG output format."
        raise _invalid(text, "output_compression", "invalid_png_output_compression", USER_ERROR)
    return output_format, compression


def _check_background(background: str, output_format: str, *, allowed: bool) -> None:
    if background != "transparent":
        return
    if not allowed:
        raise _invalid("Transparent background is not supported for this model.", "background", kind=USER_ERROR)
    if output_format == "jpeg":
        text = "Transparent background is not supported for JPEG output format."
        raise _invalid(text, "background", "invalid_transparent_background_output_format", USER_ERROR)


def _size(asked: Any, limits: Mapping[str, Any], inputs: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    if asked == "auto":
        return inputs[0] if inputs and _size_fault(*inputs[0], limits) is None else tuple(limits["auto_px"])
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", str(asked))
    fault = _size_fault(int(match[1]), int(match[2]), limits) if match else "Expected 'auto' or WIDTHxHEIGHT."
    if fault or match is None:
        raise _invalid(f"Invalid size '{asked}'. {fault}", "size", kind=USER_ERROR)
    return int(match[1]), int(match[2])


def _size_fault(width: int, height: int, limits: Mapping[str, Any]) -> str | None:
    """What is wrong with a size for gpt-image-2, as a sentence.

    Source: azure-ai-docs#779, openclaw#118476, celeste-python#421 quoting the official guide; jezweb/claude-skills#91.
    """
    grid, edge, ratio = limits["grid_px"], limits["longest_edge_px"], limits["widest_ratio"]
    if width % grid or height % grid or not width or not height:
        return f"Width and height must both be divisible by {grid}."
    if max(width, height) > edge:
        return f"The longest edge must not exceed {edge} pixels."
    if max(width, height) > ratio * min(width, height):
        return f"The aspect ratio must be between 1:{ratio:g} and {ratio:g}:1."
    if not limits["least_px"] <= width * height <= limits["most_px"]:
        return f"The total number of pixels must be between {limits['least_px']} and {limits['most_px']}."
    return None


def _images(form: Form, limits: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    if not form.images:
        raise _invalid("Missing required parameter: 'image'.", "image", "missing_required_parameter")
    if len(form.images) > limits["most_images"]:
        text = (
            f"Invalid 'image': array too long. Expected an array with maximum length {limits['most_images']}, but got "
            f"an array with length {len(form.images)} instead."
        )
        raise _invalid(text, "image", "array_above_max_length")
    return tuple(_image(form, index, upload, limits) for index, upload in enumerate(form.images))


def _image(form: Form, index: int, upload: Upload, limits: Mapping[str, Any]) -> tuple[int, int]:
    param = f"image[{index}]" if form.listed else "image"
    if not upload.is_file:
        text = f"Invalid type for '{param}': expected a file, but got a string instead."
        raise _invalid(text, param, "invalid_type")
    if upload.mime not in PICTURE_TYPES:
        text = (
            f"Invalid file '{param}': unsupported mimetype ('{upload.mime}'). "
            "Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
        )
        raise _invalid(text, param, "unsupported_file_mimetype")
    if len(upload.data) >= limits["image_bytes"]:
        raise _invalid(f"Invalid file '{param}': file too large. Maximum size is 50MB.", param, "file_too_large")
    try:
        with Image.open(io.BytesIO(upload.data)) as image:
            image.load()
            return image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        text = f"Invalid image file or mode for image {index + 1}, please check your image file."
        raise _invalid(text, param, "invalid_image_file", USER_ERROR) from None


def _mask(form: Form, image_sizes: tuple[tuple[int, int], ...], limits: Mapping[str, Any]) -> bytes:
    """The mask's bytes; wording by memory of the API, rules of `types/image_edit_params.py`."""
    data = form.mask.data if form.mask else b""
    try:
        with Image.open(io.BytesIO(data)) as mask:
            mask.load()
            kind, size, alpha = mask.format, mask.size, "A" in mask.getbands() or "transparency" in mask.info
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        kind, size, alpha = None, (0, 0), False
    fault = None
    if kind != "PNG":
        fault = "mask must be a PNG"
    elif len(data) >= limits["mask_bytes"]:
        fault = "mask must be smaller than 4MB"
    elif size != image_sizes[0]:
        fault = "mask size does not match image size"
    elif not alpha:
        fault = "mask image missing alpha channel"
    if fault:
        raise _invalid(f"Invalid mask image format - {fault}", "mask", "invalid_mask_image_format", USER_ERROR)
    return data
