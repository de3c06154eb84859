"""What a caller may ask for at all, before anything is routed."""

from pictord.domain.caller import CallerPolicy
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest, Quality, Tier
from pictord.errors import GatewayError


def check_caller(request: GenerationRequest, caller: CallerPolicy) -> None:
    """Refuse a tier that the caller does not have, and the best quality for free users.

    Raises:
        GatewayError: TIER_NOT_ALLOWED.
    """
    if request.tier not in caller.tiers:
        tiers = ", ".join(sorted(caller.tiers)) or "none"
        text = f"this caller may not use tier {request.tier}; it has {tiers}"
        raise GatewayError(Reason.TIER_NOT_ALLOWED, text, {"tier": request.tier.value})
    wants_best = request.high_quality or request.quality is Quality.HIGH
    if request.tier is Tier.FREE and wants_best and not caller.allow_free_high_quality:
        text = "this caller may not ask for high quality in tier free; ask in another tier, or without it"
        raise GatewayError(Reason.TIER_NOT_ALLOWED, text, {"tier": request.tier.value})
