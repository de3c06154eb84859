"""Taking a provider out of service and back, at an operator's word."""

import logging

from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.resilience.guard import Guards

logger = logging.getLogger(__name__)

MAX_REASON_CHARS = 200
MAX_DISABLED_S = 7 * 24 * 3600.0


def disable(guards: Guards, provider: str, reason: str, for_s: float | None, *, by: str) -> None:
    """Send nothing to a provider, for some seconds or (None) until it is enabled; calls in flight go on.

    Raises:
        GatewayError: INVALID_FIELD: `reason` or `duration`; NOT_FOUND: the provider.
    """
    violations = []
    if not reason.strip() or len(reason) > MAX_REASON_CHARS:
        violations.append(FieldViolation("reason", f"say why, in 1 to {MAX_REASON_CHARS} characters"))
    if for_s is not None and not 0 < for_s <= MAX_DISABLED_S:
        text = "must be more than nothing and at most 7 days; leave it unset to disable until enabled"
        violations.append(FieldViolation("duration", text))
    if violations:
        raise invalid(violations)
    _require(guards, provider)
    guards.disable(provider, reason, for_s)
    logger.warning("provider %s disabled by %s: %s", provider, by, reason)


def enable(guards: Guards, provider: str, *, by: str) -> None:
    """Send calls to a provider again, and clear what kept them back.

    Raises:
        GatewayError: NOT_FOUND: the provider.
    """
    _require(guards, provider)
    guards.enable(provider)
    logger.warning("provider %s enabled by %s", provider, by)


def _require(guards: Guards, provider: str) -> None:
    if provider not in {status.provider for status in guards.status()}:
        text = f"no provider {provider!r} is configured here; ListProviders names them"
        raise GatewayError(Reason.NOT_FOUND, text, {"provider": provider})
