"""What a request wants once defaults, formats and aliases are resolved; the same for every model."""

from fractions import Fraction
from typing import NamedTuple

from pictord.catalog.catalog import Catalog
from pictord.catalog.sizes import GRID_RATIO_ERROR, difference
from pictord.domain.request import (
    SQUARE,
    Fidelity,
    GenerationRequest,
    InputImage,
    Operation,
    Quality,
    Ratio,
    Resolution,
)
from pictord.routing.policy import Policy


class Wanted(NamedTuple):
    """A request in the router's terms.

    `is_ratio_asked` is False for an edit that says no ratio: it means "like the picture", and the nearest will do.
    `masked_px` is the (width, height) that a mask wants kept. `follows_picture` is True for a masked edit that asks for
    no other ratio than the picture's: it keeps the picture's pixels if their size class is the asked `resolution` or,
    with none asked, is not above `resolution`.
    `prompt_bytes` is the prompt's UTF-8 length, `input_images` counts the picture to edit and the references.
    `quality` is set only if the caller gave it together with a model; `is_pro` asks for the best quality otherwise.
    """

    ratio: Ratio
    is_ratio_asked: bool
    resolution: Resolution
    is_resolution_asked: bool
    masked_px: tuple[int, int] | None
    follows_picture: bool
    fidelity: Fidelity
    quality: Quality | None
    is_pro: bool
    named: str | None
    excluded: frozenset[str]
    prompt_bytes: int
    input_images: int

    @property
    def is_best_quality(self) -> bool:
        """Whether anything below `high` is less than was asked."""
        return self.is_pro if self.quality is None else self.quality is Quality.HIGH


def resolve(request: GenerationRequest, policy: Policy, catalog: Catalog) -> Wanted:
    """Resolve a request.

    Raises:
        GatewayError: MODEL_UNKNOWN, FORMAT_UNKNOWN.
    """
    drawn_at = policy.resolution.of(request)
    ratio = _asked_ratio(request, catalog)
    masked = request.image if request.mask is not None else None
    follows_picture = masked is not None and _keeps_shape(ratio, masked)
    return Wanted(
        ratio=ratio or _default_ratio(request),
        is_ratio_asked=ratio is not None or request.image is None,
        resolution=policy.resolution.of_masked(request) if follows_picture else drawn_at,
        is_resolution_asked=request.canvas.resolution is not None,
        masked_px=None if masked is None else (masked.width_px, masked.height_px),
        follows_picture=follows_picture,
        fidelity=fidelity_of(request),
        quality=request.quality if request.model is not None else None,
        is_pro=policy.quality.is_pro(request, drawn_at),
        named=catalog.model_id(request.model) if request.model is not None else None,
        excluded=frozenset(catalog.model_id(name) for name in request.excluded_models),
        prompt_bytes=len(request.prompt) if request.prompt.isascii() else len(request.prompt.encode()),
        input_images=len(request.references) + (request.image is not None),
    )


def fidelity_of(request: GenerationRequest) -> Fidelity:
    """Unset means ADAPT, but EXACT with a mask: protected pixels are never repainted unasked."""
    if request.fidelity is not None:
        return request.fidelity
    return Fidelity.ADAPT if request.mask is None else Fidelity.EXACT


def _asked_ratio(request: GenerationRequest, catalog: Catalog) -> Ratio | None:
    if request.canvas.format is not None:
        return catalog.format(request.canvas.format).ratio
    return request.canvas.ratio


def _default_ratio(request: GenerationRequest) -> Ratio:
    picture = request.image
    if request.operation is not Operation.EDIT or picture is None:
        return SQUARE
    return _ratio_of(picture)


def _keeps_shape(asked: Ratio | None, picture: InputImage) -> bool:
    return asked is None or difference(asked, _ratio_of(picture)) <= GRID_RATIO_ERROR


def _ratio_of(picture: InputImage) -> Ratio:
    return Ratio(Fraction(picture.width_px, picture.height_px), f"{picture.width_px}:{picture.height_px}")
