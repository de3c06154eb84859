"""Why a plan without candidates refuses the call, and what would help.

The reason is the one that is nearest to a picture: what more time, waiting or money would mend goes before what only
another request would, and that before what an operator must do.
"""

from collections.abc import Iterable
from decimal import ROUND_CEILING

from pictord.domain.money import format_usd
from pictord.domain.plan import Adaptation, AdaptationKind, Exclusion, ExclusionReason, Plan
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest
from pictord.errors import GatewayError
from pictord.routing.router import MOMENTARY


def refusal(plan: Plan, request: GenerationRequest) -> GatewayError | None:
    """The refusal of a request that nobody may serve; None if there is a candidate."""
    if plan.candidates:
        return None
    by_reason = {exclusion.reason: exclusion for exclusion in reversed(plan.exclusions)}
    reason = _reason(by_reason.keys())
    helps = [help_ for exclusion in sorted(plan.exclusions, key=_ignores_mask) if (help_ := _help(exclusion, request))]
    said = "; ".join(exclusion.text for exclusion in plan.exclusions)
    text = f"{_HEADLINES[reason]}: {said}" + (f". What would help: {'; '.join(dict.fromkeys(helps))}" if helps else "")
    return GatewayError(reason, text, _metadata(plan), retry_after_s=_retry_after_s(plan, reason))


_HEADLINES = {
    Reason.DEADLINE_TOO_SHORT: "the deadline is too short",
    Reason.RATE_LIMITED: "rate limited",
    Reason.BUDGET_EXHAUSTED: "a provider account's budget has no room",
    Reason.PROVIDERS_UNAVAILABLE: "no engine is in service for this",
    Reason.PRICE_CEILING: "too expensive for the given limit",
    Reason.NO_EXACT_CANDIDATE: "no engine can serve this exactly",
    Reason.PERMISSION_DENIED: "not permitted",
    Reason.NOT_CONFIGURED: "not configured",
    Reason.NO_CAPABLE_MODEL: "no engine can serve this",
}


def _reason(found: Iterable[ExclusionReason]) -> Reason:
    reasons = set(found)
    if ExclusionReason.DEADLINE in reasons:
        return Reason.DEADLINE_TOO_SHORT
    if (momentary := reasons & MOMENTARY) == {ExclusionReason.BUDGET_EXHAUSTED}:
        return Reason.BUDGET_EXHAUSTED
    if momentary:
        only_rate = momentary - {ExclusionReason.BUDGET_EXHAUSTED} == {ExclusionReason.RATE_LIMITED}
        return Reason.RATE_LIMITED if only_rate else Reason.PROVIDERS_UNAVAILABLE
    return next((ours for theirs, ours in _LASTING if theirs in reasons), Reason.NO_CAPABLE_MODEL)


_LASTING = (
    (ExclusionReason.PRICE_CEILING, Reason.PRICE_CEILING),
    (ExclusionReason.NEEDS_ADAPTATION, Reason.NO_EXACT_CANDIDATE),
    (ExclusionReason.MODEL_NOT_ALLOWED, Reason.PERMISSION_DENIED),
    (ExclusionReason.NOT_CONFIGURED, Reason.NOT_CONFIGURED),
)


def _ignores_mask(exclusion: Exclusion) -> bool:
    """Whether the engine would repaint what a mask protects: nobody's first advice."""
    return any(adaptation.kind is AdaptationKind.MASK_AS_PROMPT for adaptation in exclusion.adaptations)


def _help(exclusion: Exclusion, request: GenerationRequest) -> str | None:
    match exclusion.reason:
        case ExclusionReason.NEEDS_ADAPTATION:
            return _adapted(exclusion, request)
        case ExclusionReason.FALLBACK_NOT_ALLOWED:
            return f"allow_fallback would let {exclusion.model} be considered"
        case ExclusionReason.CALLER_EXCLUDED:
            return f"not excluding {exclusion.model}"
        case ExclusionReason.PRICE_CEILING if exclusion.worst_case_nanos is not None:
            needed = format_usd(exclusion.worst_case_nanos, rounding=ROUND_CEILING)
            if exclusion.is_callers_ceiling:
                what = f"{needed} on a picture of {exclusion.model}"
                return f"an operator's leave for this caller to spend {what} (max_picture_usd)"
            return f"a max_cost of {needed} for {exclusion.model}"
        case ExclusionReason.QUALITY_UNSUPPORTED:
            return f"no quality for {exclusion.model}"
        case ExclusionReason.NOT_IN_ROW if request.model is None:
            return f"naming {exclusion.model}"
    return None


def _adapted(exclusion: Exclusion, request: GenerationRequest) -> str:
    """What lets this engine serve; ADAPT alone would let one go first that has no masks."""
    text = f"fidelity ADAPT would let {exclusion.model} serve it"
    if request.mask is not None and request.model is None and not _ignores_mask(exclusion):
        text = f"naming {exclusion.model} with fidelity ADAPT would let it serve this"
    if exclusion.keeps_pixels is not None:
        text = f"resolution {exclusion.keeps_pixels} would let {exclusion.model} keep the picture's pixels; {text}"
    return text + _fitting_size(exclusion.adaptations)


def _fitting_size(needed: tuple[Adaptation, ...]) -> str:
    """The size of a picture that would need no adaptation, if its size is all that is in the way."""
    if len(needed) == 1 and needed[0].kind is AdaptationKind.SIZE_CHANGED:
        return f", or a picture and mask of {needed[0].delivered}"
    return ""


def _metadata(plan: Plan) -> dict[str, str]:
    metadata = {"row": str(plan.row)}
    full = next((exclusion.no_room for exclusion in plan.exclusions if exclusion.no_room is not None), None)
    if full is not None:
        metadata |= {"budget": full.budget, "scope": full.scope, "needed": full.needed, "available": full.available}
    metadata |= {f"excluded.{exclusion.model}": exclusion.reason.value for exclusion in plan.exclusions}
    needs_s = [exclusion.needs_s for exclusion in plan.exclusions if exclusion.needs_s is not None]
    if needs_s:
        metadata["needs_seconds"] = f"{min(needs_s):.1f}"
    nanos = [exclusion.worst_case_nanos for exclusion in plan.exclusions if exclusion.worst_case_nanos is not None]
    if nanos:
        metadata["needs_nanos"] = str(min(nanos))
    return metadata


def _retry_after_s(plan: Plan, reason: Reason) -> float | None:
    if reason not in {Reason.RATE_LIMITED, Reason.PROVIDERS_UNAVAILABLE}:
        return None
    return min((e.retry_after_s for e in plan.exclusions if e.retry_after_s is not None), default=None)
