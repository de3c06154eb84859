"""Whether the picture that came is the one that was planned: nothing degrades in silence. Pure."""

from pictord.domain.plan import Adaptation, AdaptationKind, Candidate
from pictord.domain.request import GenerationRequest
from pictord.providers.base import Drawn

_SIDE_TOLERANCE = 0.02
"""By what share a side may differ from the plan: engines round to grids of their own. A mask leaves no room."""


def unplanned(candidate: Candidate, request: GenerationRequest, drawn: Drawn) -> tuple[Adaptation, ...]:
    """What came otherwise than the plan said, beyond the adaptations that the plan names."""
    planned, came = candidate.size_px, (drawn.width_px, drawn.height_px)
    tolerance = _SIDE_TOLERANCE if request.mask is None else 0.0
    differences = []
    if any(abs(ours - theirs) > tolerance * ours for ours, theirs in zip(planned, came, strict=True)):
        differences.append(Adaptation(AdaptationKind.SIZE_CHANGED, _pixels(planned), _pixels(came)))
    if request.output_format is not None and drawn.mime != candidate.output_format.mime:
        kind = drawn.mime.removeprefix("image/")
        differences.append(Adaptation(AdaptationKind.FORMAT_CHANGED, request.output_format, kind))
    return tuple(differences)


def _pixels(px: tuple[int, int]) -> str:
    return f"{px[0]}x{px[1]}"
