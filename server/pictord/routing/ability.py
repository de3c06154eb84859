"""Whether one model can serve a request: able, able with adaptations, or unable with a reason.

Which pixels: those of the asked size class in the asked ratio. An edit that asks for neither is drawn in its picture's
ratio at the default resolution. A mask asks for more: that what it protects stays where it is, pixel for pixel. So a
masked edit is drawn at its picture's own pixels (or, where the engine cannot, at the nearest), unless another ratio or
size class was asked, or nothing was and the picture is above the policy's `masked_up_to`: larger ones cost more than
anybody expects, so their resolution must be asked for. Whenever a masked edit is planned at other pixels than its
picture's, for whatever cause, SIZE_CHANGED says so.
"""

from typing import NamedTuple

from pictord.catalog.catalog import Catalog
from pictord.catalog.model import Backend, Model
from pictord.catalog.sizes import Size, nearest_resolution
from pictord.domain.plan import Adaptation, AdaptationKind, ExclusionReason
from pictord.domain.request import (
    Background,
    GenerationRequest,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
)
from pictord.routing.policy import Policy
from pictord.routing.wanted import Wanted

_QUALITIES = tuple(Quality)
_RESOLUTIONS = tuple(Resolution)
_WITH_ALPHA = (OutputFormat.PNG, OutputFormat.WEBP)


class Able(NamedTuple):
    """How the model would serve the request; exactly as asked if there are no adaptations."""

    quality: Quality | None
    ratio: Ratio
    resolution: Resolution
    size_px: tuple[int, int]
    output_format: OutputFormat
    adaptations: tuple[Adaptation, ...]


class Unable(Exception):
    """The model cannot serve the request, adapted or not."""

    def __init__(self, reason: ExclusionReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def ability(
    request: GenerationRequest, wanted: Wanted, model: Model, backend: Backend, *, policy: Policy, catalog: Catalog
) -> Able:
    """Say how a model would serve a request; `backend` is the API that would serve the model here.

    Raises:
        Unable: it cannot.
    """
    _check_operation(request, model)
    _check_inputs(request, model, backend)
    tolerance = policy.limits.snap_tolerance
    ratio, ratio_off = _ratio(wanted, model, tolerance)
    resolution, size = _own_size(wanted, model, ratio, catalog) or _class_size(wanted, model, ratio, catalog)
    quality = _quality(wanted, model, policy)
    output_format = _output_format(request, backend)
    differences = (
        _ratio_snapped(wanted, ratio, ratio_off, tolerance),
        _resolution_reduced(wanted, size),
        _size_changed(wanted, size),
        _quality_reduced(wanted, model, quality),
        _model_substituted(wanted, model),
        _mask_as_prompt(request, model),
        _format_changed(request, backend, output_format),
        _background_opaque(request, model, output_format),
        _seed_ignored(request, model),
    )
    adaptations = tuple(filter(None, differences))
    return Able(quality, ratio, resolution, size.px, output_format, adaptations)


def keeping_resolution(wanted: Wanted, model: Model, catalog: Catalog) -> Resolution | None:
    """Which resolution has to be asked for so that a masked picture keeps its own pixels; None if none would do."""
    if wanted.masked_px is None or not wanted.follows_picture or not model.sizes.draws(wanted.masked_px):
        return None
    ratio, _ = model.sizes.nearest(wanted.ratio)
    return nearest_resolution(model.sizes, wanted.masked_px, ratio, catalog.size_classes)


# What nothing can adapt


def _check_operation(request: GenerationRequest, model: Model) -> None:
    if request.operation not in model.can.operations:
        raise Unable(ExclusionReason.OPERATION_UNSUPPORTED, f"{model.id} has no {request.operation}")
    if len(request.prompt) > model.can.prompt_limit_chars:
        limit = model.can.prompt_limit_chars
        text = f"{model.id} takes prompts of up to {limit} characters, this one has {len(request.prompt)}"
        raise Unable(ExclusionReason.PROMPT_TOO_LONG, text)


def _check_inputs(request: GenerationRequest, model: Model, backend: Backend) -> None:
    pictures = request.input_images
    mask = request.mask
    if not pictures and mask is None:
        return
    if mask is not None and not model.can.native_mask:
        pictures += (mask,)
    if len(pictures) > model.can.max_input_images:
        text = f"{model.id} takes up to {model.can.max_input_images} pictures, these are {len(pictures)}"
        raise Unable(ExclusionReason.TOO_MANY_REFERENCES, text)
    for picture in pictures:
        if picture.mime not in model.can.input_types:
            raise Unable(ExclusionReason.INPUT_UNSUPPORTED, f"{model.id} does not read {picture.mime}")
    sizes = [len(picture.data) for picture in pictures]
    _check_bytes(model, "a picture", max(sizes, default=0), backend.input_max_bytes)
    _check_bytes(model, "all pictures together", sum(sizes), backend.input_total_max_bytes)
    _check_bytes(model, "a mask", len(mask.data) if mask else 0, backend.mask_max_bytes)


def _check_bytes(model: Model, what: str, size: int, limit: int) -> None:
    if size > limit:
        text = f"{model.id} takes {what} of up to {limit} bytes, this is {size}"
        raise Unable(ExclusionReason.INPUT_UNSUPPORTED, text)


# What is chosen


def _ratio(wanted: Wanted, model: Model, tolerance: float) -> tuple[Ratio, float]:
    """The nearest ratio that the model draws, and by what share it differs."""
    nearest, ratio_off = model.sizes.nearest(wanted.ratio)
    if wanted.is_ratio_asked and ratio_off > tolerance:
        text = f"{model.id} draws {model.sizes.describe_ratios()}; {wanted.ratio} is more than {tolerance:.0%} off"
        raise Unable(ExclusionReason.RATIO_UNSUPPORTED, text)
    return nearest, ratio_off


def _own_size(wanted: Wanted, model: Model, ratio: Ratio, catalog: Catalog) -> tuple[Resolution, Size] | None:
    """A masked picture's own pixels or, if nothing was asked, the nearest to them; None if a size class is meant."""
    if wanted.masked_px is None or not wanted.follows_picture:
        return None
    resolution = nearest_resolution(model.sizes, wanted.masked_px, ratio, catalog.size_classes)
    size = model.sizes.near(wanted.masked_px, ratio, resolution)
    if wanted.is_resolution_asked:
        is_meant = resolution is wanted.resolution and size.px == wanted.masked_px
    else:
        is_meant = _RESOLUTIONS.index(resolution) <= _RESOLUTIONS.index(wanted.resolution)
    return (resolution, size) if is_meant else None


def _class_size(wanted: Wanted, model: Model, ratio: Ratio, catalog: Catalog) -> tuple[Resolution, Size]:
    """The pixels of the asked size class, or of the largest below it."""
    resolution = _resolution(wanted, model)
    size = model.sizes.size(ratio, resolution, catalog.size_classes[resolution])
    return resolution, size if resolution is wanted.resolution else Size(size.px, reduced=True)


def _resolution(wanted: Wanted, model: Model) -> Resolution:
    """The asked resolution, or the largest below it."""
    offered = model.sizes.resolutions
    if wanted.resolution in offered:
        return wanted.resolution
    asked = _RESOLUTIONS.index(wanted.resolution)
    below = [resolution for resolution in offered if _RESOLUTIONS.index(resolution) < asked]
    if not below:
        smallest = min(offered, key=_RESOLUTIONS.index)
        text = f"{model.id} draws nothing smaller than {smallest}; {wanted.resolution} was asked"
        raise Unable(ExclusionReason.RESOLUTION_UNSUPPORTED, text)
    return max(below, key=_RESOLUTIONS.index)


def _quality(wanted: Wanted, model: Model, policy: Policy) -> Quality | None:
    """The quality that was given with the model, else the rule's or the best below it: never above."""
    offered = model.can.qualities
    if wanted.quality in offered:
        return wanted.quality
    if wanted.quality is not None and wanted.named == model.id:
        has = f"has {', '.join(offered)}" if offered else "has no choice of quality"
        raise Unable(ExclusionReason.QUALITY_UNSUPPORTED, f"{model.id} {has}; {wanted.quality} was asked")
    if not offered:
        return None
    most = policy.quality.pro if wanted.is_pro else policy.quality.standard
    if most in offered:
        return most
    below = [quality for quality in offered if _QUALITIES.index(quality) < _QUALITIES.index(most)]
    if not below:
        raise Unable(ExclusionReason.QUALITY_UNSUPPORTED, f"{model.id} has nothing as cheap as {most}")
    return max(below, key=_QUALITIES.index)


def _output_format(request: GenerationRequest, backend: Backend) -> OutputFormat:
    """The asked format if it can be had, PNG if nothing is asked, else what the engine gives by itself."""
    formats = backend.output_formats
    if request.output_format in formats:
        return request.output_format
    if request.background is Background.TRANSPARENT:
        return next((f for f in _WITH_ALPHA if f in formats), formats[0])
    return OutputFormat.PNG if OutputFormat.PNG in formats else formats[0]


# What differs from what was asked


def _ratio_snapped(wanted: Wanted, ratio: Ratio, ratio_off: float, tolerance: float) -> Adaptation | None:
    if ratio_off == 0 or (not wanted.is_ratio_asked and ratio_off <= tolerance):
        return None
    return Adaptation(AdaptationKind.RATIO_SNAPPED, wanted.ratio.text, ratio.text)


def _resolution_reduced(wanted: Wanted, size: Size) -> Adaptation | None:
    if not size.reduced:
        return None
    return Adaptation(AdaptationKind.RESOLUTION_REDUCED, wanted.resolution, _pixels(size.px))


def _size_changed(wanted: Wanted, size: Size) -> Adaptation | None:
    if wanted.masked_px is None or wanted.masked_px == size.px:
        return None
    return Adaptation(AdaptationKind.SIZE_CHANGED, _pixels(wanted.masked_px), _pixels(size.px))


def _pixels(px: tuple[int, int]) -> str:
    return f"{px[0]}x{px[1]}"


def _quality_reduced(wanted: Wanted, model: Model, quality: Quality | None) -> Adaptation | None:
    if quality is Quality.HIGH or not wanted.is_best_quality:
        return None
    return Adaptation(AdaptationKind.QUALITY_REDUCED, Quality.HIGH, quality or model.title)


def _model_substituted(wanted: Wanted, model: Model) -> Adaptation | None:
    if wanted.named is None or wanted.named == model.id:
        return None
    return Adaptation(AdaptationKind.MODEL_SUBSTITUTED, wanted.named, model.id)


def _mask_as_prompt(request: GenerationRequest, model: Model) -> Adaptation | None:
    if request.mask is None or model.can.native_mask:
        return None
    return Adaptation(AdaptationKind.MASK_AS_PROMPT, "mask", "the mask's picture with an instruction")


def _format_changed(request: GenerationRequest, backend: Backend, given: OutputFormat) -> Adaptation | None:
    """A format that cannot be had, or one whose compression cannot be chosen."""
    asked = request.output_format
    if asked is None:
        return None
    if asked is not given:
        return Adaptation(AdaptationKind.FORMAT_CHANGED, asked, given)
    if request.output_compression is not None and asked not in backend.compressed_formats:
        return Adaptation(AdaptationKind.FORMAT_CHANGED, f"{asked} compressed to {request.output_compression}", given)
    return None


def _background_opaque(request: GenerationRequest, model: Model, given: OutputFormat) -> Adaptation | None:
    if request.background is not Background.TRANSPARENT:
        return None
    if model.can.transparent_background and given in _WITH_ALPHA:
        return None
    return Adaptation(AdaptationKind.BACKGROUND_OPAQUE, Background.TRANSPARENT, Background.OPAQUE)


def _seed_ignored(request: GenerationRequest, model: Model) -> Adaptation | None:
    if request.seed is None or model.can.seed:
        return None
    return Adaptation(AdaptationKind.SEED_IGNORED, str(request.seed), "no seed")
