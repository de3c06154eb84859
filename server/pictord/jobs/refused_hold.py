"""A limit without room, in words: for the caller who is refused, and for the plan that leaves an engine out."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP

from pictord.domain.budget import Unit
from pictord.domain.money import format_usd
from pictord.domain.plan import NoRoom
from pictord.errors import GatewayError
from pictord.store.base import HoldRefused


def refusal_of(refused: HoldRefused) -> GatewayError:
    """What a caller is told whose request has no room under a limit."""
    room = no_room(refused)
    budget = {"budget": room.budget, "scope": room.scope} if room.budget else {}
    metadata = {"needed": room.needed, "available": room.available} | budget
    return GatewayError(refused.limit.reason, room.text, metadata)


def no_room(refused: HoldRefused) -> NoRoom:
    """The limit's name and what is left under it, in words: needs are rounded up, what is left is rounded down."""
    limit = refused.limit
    needed, cap = _amount(limit.unit, refused.needed, ROUND_CEILING), _amount(limit.unit, limit.cap or 0)
    available = _amount(limit.unit, refused.available, ROUND_FLOOR)
    name = f"budget {limit.budget!r}" if limit.budget else limit.reason.value
    unit = " pictures" if limit.unit is Unit.PICTURES else ""
    text = f"{name}: needs {needed} at worst, {available} of {cap}{unit} is left"
    return NoRoom(limit.budget, limit.scope, needed, available, text)


def _amount(unit: Unit, amount: int, rounding: str = ROUND_HALF_UP) -> str:
    return format_usd(amount, rounding=rounding) if unit is Unit.USD else str(amount)
