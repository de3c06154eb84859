"""Everything that is wrong with a request by itself and by the catalog, before anybody plans or pays."""

from collections.abc import Iterator

from pictord.catalog.catalog import Catalog
from pictord.domain.reason import Reason
from pictord.domain.request import Background, GenerationRequest, InputImage, Operation, OutputFormat
from pictord.errors import FieldViolation, GatewayError

COUNT_MAX = 10
PREVIEWS_MAX = 3
COMPRESSION_MAX = 100
LABELS_MAX = 16
LABEL_KEY_MAX_CHARS = 64
LABEL_VALUE_MAX_CHARS = 256
SEED_MAX = 2**31 - 1
"""Seeds are signed 32-bit numbers in the one API that has them (google-genai 3.4.0 types.py, read 2026-11-22)."""
END_USER_MAX_BYTES = 256
REQUEST_ID_MAX_BYTES = 128
_NUL = "must not hold the character NUL"
"""PostgreSQL keeps no text with it (https://www.postgresql.org/docs/15/datatype-character.html, read 2026-11-28)."""


def violations(request: GenerationRequest, catalog: Catalog) -> list[FieldViolation]:
    """List what is wrong, by field path, with what would work; empty means valid."""
    return [
        *_prompt(request, catalog),
        *_canvas(request, catalog),
        *_models(request, catalog),
        *_pictures(request, catalog),
        *_numbers(request),
        *_output(request),
        *_texts(request),
    ]


def _prompt(request: GenerationRequest, catalog: Catalog) -> Iterator[FieldViolation]:
    most = max(model.can.prompt_limit_chars for model in catalog.models.values())
    if not request.prompt.strip():
        yield FieldViolation("prompt", "must not be empty", Reason.PROMPT_EMPTY)
    elif len(request.prompt) > most:
        text = f"at most {most} characters, this has {len(request.prompt)}"
        yield FieldViolation("prompt", text, Reason.PROMPT_TOO_LONG)


def _canvas(request: GenerationRequest, catalog: Catalog) -> Iterator[FieldViolation]:
    canvas = request.canvas
    if canvas.ratio is not None and canvas.format is not None:
        yield FieldViolation("canvas.format", "give either a ratio or a format")
    if canvas.format is not None and canvas.format not in catalog.formats:
        yield FieldViolation("canvas.format", _unknown("format", canvas.format, catalog), Reason.FORMAT_UNKNOWN)
    if canvas.ratio is not None:
        narrowest = min((m.sizes.narrowest for m in catalog.models.values()), key=lambda ratio: ratio.value)
        widest = max((m.sizes.widest for m in catalog.models.values()), key=lambda ratio: ratio.value)
        if not narrowest.value <= canvas.ratio.value <= widest.value:
            text = f"{canvas.ratio} is impossible; engines draw from {narrowest} to {widest}"
            yield FieldViolation("canvas.ratio", text, Reason.RATIO_INVALID)


def _models(request: GenerationRequest, catalog: Catalog) -> Iterator[FieldViolation]:
    if request.model is not None and request.model not in catalog.ids_by_name:
        yield FieldViolation("model", _unknown("model", request.model, catalog), Reason.MODEL_UNKNOWN)
    named = catalog.ids_by_name.get(request.model) if request.model is not None else None
    for index, name in enumerate(request.excluded_models):
        path = f"excluded_models[{index}]"
        if name not in catalog.ids_by_name:
            yield FieldViolation(path, _unknown("model", name, catalog), Reason.MODEL_UNKNOWN)
        elif catalog.ids_by_name[name] == named:
            yield FieldViolation(path, "is the model that the request names")
    if request.quality is not None and request.model is None:
        yield FieldViolation("quality", "goes only together with model; without one, use high_quality")


def _unknown(kind: str, name: str, catalog: Catalog) -> str:
    """The catalog's own words for a name that it does not know."""
    try:
        _ = catalog.model_id(name) if kind == "model" else catalog.format(name)
    except GatewayError as error:
        return error.text
    return ""


def _pictures(request: GenerationRequest, catalog: Catalog) -> Iterator[FieldViolation]:
    if request.operation is Operation.EDIT and request.image is None:
        yield FieldViolation("image", "an edit needs the picture to change", Reason.IMAGE_MISSING)
    if request.operation is Operation.GENERATE and request.image is not None:
        yield FieldViolation("image", "Generate takes references; to change a picture, use Edit")
    most = max(model.can.max_input_images for model in catalog.models.values()) - (request.image is not None)
    if len(request.references) > most:
        text = f"at most {most}, these are {len(request.references)}"
        yield FieldViolation("references", text, Reason.TOO_MANY_REFERENCES)
    if request.mask is not None:
        yield from _mask(request.mask, request.image)


def _mask(mask: InputImage, image: InputImage | None) -> Iterator[FieldViolation]:
    if image is None:
        yield FieldViolation("mask", "a mask needs the picture that it covers", Reason.MASK_WITHOUT_IMAGE)
        return
    if mask.mime != OutputFormat.PNG.mime or not mask.has_alpha:
        text = "must be a PNG with an alpha channel; transparent pixels mark what may change"
        yield FieldViolation("mask", text, Reason.MASK_INVALID)
    if (mask.width_px, mask.height_px) != (image.width_px, image.height_px):
        wanted, given = f"{image.width_px}x{image.height_px}", f"{mask.width_px}x{mask.height_px}"
        yield FieldViolation("mask", f"must be {wanted} like the picture, is {given}", Reason.MASK_INVALID)


def _numbers(request: GenerationRequest) -> Iterator[FieldViolation]:
    if not 1 <= request.count <= COUNT_MAX:
        yield FieldViolation("count", f"1 to {COUNT_MAX}, this is {request.count}", Reason.COUNT_OUT_OF_RANGE)
    if request.preview_count is not None and not 0 <= request.preview_count <= PREVIEWS_MAX:
        yield FieldViolation("preview_count", f"0 to {PREVIEWS_MAX}, this is {request.preview_count}")
    if request.max_cost_nanos is not None and request.max_cost_nanos < 0:
        yield FieldViolation("max_cost", "must not be negative")
    if request.seed is not None and not 0 <= request.seed <= SEED_MAX:
        yield FieldViolation("seed", f"0 to {SEED_MAX}")
    if request.max_inline_bytes is not None and request.max_inline_bytes < 0:
        yield FieldViolation("max_inline_bytes", "must not be negative")


def _output(request: GenerationRequest) -> Iterator[FieldViolation]:
    compression, asked = request.output_compression, request.output_format
    if compression is not None and not 0 <= compression <= COMPRESSION_MAX:
        yield FieldViolation("output_compression", f"0 to {COMPRESSION_MAX}, this is {compression}")
    if compression is not None and asked not in {OutputFormat.JPEG, OutputFormat.WEBP}:
        yield FieldViolation("output_compression", "goes only with output_format JPEG or WEBP")
    if request.background is Background.TRANSPARENT and asked is OutputFormat.JPEG:
        yield FieldViolation("background", "JPEG has no transparency; ask for PNG or WEBP")


def _texts(request: GenerationRequest) -> Iterator[FieldViolation]:
    if len(request.labels) > LABELS_MAX:
        yield FieldViolation("labels", f"at most {LABELS_MAX}, these are {len(request.labels)}")
    for key, value in request.labels.items():
        if not 1 <= len(key) <= LABEL_KEY_MAX_CHARS or len(value) > LABEL_VALUE_MAX_CHARS:
            text = f"keys of 1 to {LABEL_KEY_MAX_CHARS} and values of up to {LABEL_VALUE_MAX_CHARS} characters"
            yield FieldViolation(f"labels[{key[:LABEL_KEY_MAX_CHARS]}]", text)
        elif "\0" in key + value:
            yield FieldViolation(f"labels[{key}]", _NUL)
    if request.end_user is not None and len(request.end_user.encode()) > END_USER_MAX_BYTES:
        yield FieldViolation("end_user", f"at most {END_USER_MAX_BYTES} bytes")
    if request.request_id is not None and len(request.request_id.encode()) > REQUEST_ID_MAX_BYTES:
        yield FieldViolation("request_id", f"at most {REQUEST_ID_MAX_BYTES} bytes")
    if "\0" in (request.request_id or ""):
        yield FieldViolation("request_id", _NUL)
