"""The gateway's errors as HTTP statuses."""

from pictord.domain.reason import Reason
from pictord.errors import GatewayError

UNPROCESSABLE = 422

_STATUS = {
    Reason.UNAUTHENTICATED: 401,
    Reason.PERMISSION_DENIED: 403,
    Reason.TIER_NOT_ALLOWED: 403,
    Reason.NOT_FOUND: 404,
    Reason.EXPIRED: 404,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.SHUTTING_DOWN: 503,
}


def status_of(error: GatewayError) -> int:
    """What a refusal or failure is answered with."""
    return _STATUS.get(error.reason, UNPROCESSABLE)
