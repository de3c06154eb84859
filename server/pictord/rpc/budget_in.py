"""A budget from the contract: every field, and where it lay if it is wrong."""

import re
from collections.abc import Collection

from pictor.v1 import usage_service_pb2 as service
from pictord.domain.budget import EACH, Budget, Counted, Unit, Window
from pictord.domain.request import Tier
from pictord.rpc import enums
from pictord.rpc.convert_in import Check, money_nanos

MAX_KEY_CHARS = 200
MAX_THRESHOLDS = 10
DEFAULT_THRESHOLDS = (50, 80, 100)

_ID = re.compile(r"[a-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


def read_budget(message: service.Budget, providers: Collection[str], check: Check, path: str) -> Budget:
    """What a budget says; `path` leads to it, `providers` are those that the catalog knows.

    Raises:
        GatewayError: INVALID_ARGUMENT with every wrong field.
    """
    text = "needs 1 to 64 lower-case letters, digits, `.`, `_` and `-`"
    check.require(ok=_ID.fullmatch(message.id) is not None, field=f"{path}id", text=text)
    counted = check.enum(f"{path}counted", enums.COUNTED, message.counted)
    if message.counted == service.Budget.COUNTED_UNSPECIFIED:
        check.fail(f"{path}counted", "say whose requests count")
    window = check.enum(f"{path}window", enums.WINDOW, message.window)
    if message.window == service.Budget.WINDOW_UNSPECIFIED:
        check.fail(f"{path}window", "say whether it counts by day or by month")
    if counted is not None:
        wrong = _wrong_key(counted, message.key, providers)
        check.require(ok=wrong is None, field=f"{path}key", text=wrong or "")
    tier = check.enum(f"{path}tier", enums.TIER, message.tier)
    if tier is not None and counted is Counted.TIER:
        check.fail(f"{path}tier", "leave it unset: the key names the tier that is counted")
    unit, amount = _amount(message, check, path)
    thresholds = _thresholds(message, check, path)
    check.done()
    return Budget(
        id=message.id,
        counted=counted or Counted.GLOBAL,
        key=message.key,
        unit=unit,
        window=window or Window.DAY,
        amount=amount,
        is_hard=not message.soft,
        thresholds=thresholds,
        tier=tier,
    )


def _wrong_key(counted: Counted, key: str, providers: Collection[str]) -> str | None:
    """What is wrong with a key; None if nothing is."""
    if counted is Counted.GLOBAL:
        return None if not key else "leave it empty: everybody's requests count"
    if not key:
        return f"is empty; name one {counted.value}, or `{EACH}` for each"
    if key == EACH:
        return None
    if counted is Counted.TIER and key not in {tier.value for tier in Tier}:
        return f"{key!r} is no tier; there are {', '.join(tier.value for tier in Tier)}"
    if counted is Counted.PROVIDER and key not in providers:
        return f"{key!r} is no provider; there are {', '.join(sorted(providers))}"
    if counted is Counted.END_USER and not _HASH.fullmatch(key):
        return f"give the end user's hash (64 hexadecimal digits) as GetUsage shows it, or `{EACH}` for each"
    if len(key) > MAX_KEY_CHARS or not key.isprintable():
        return f"needs at most {MAX_KEY_CHARS} printable characters"
    return None


def _amount(message: service.Budget, check: Check, path: str) -> tuple[Unit, int]:
    kind = message.WhichOneof("amount")
    if kind is None:
        check.fail(f"{path}amount", "say what may be spent: `usd` or `pictures`")
        return Unit.USD, 0
    if kind == "usd":
        nanos = check.value(f"{path}usd", lambda: money_nanos(message.usd))
        check.require(ok=nanos != 0, field=f"{path}usd", text="is nothing; give more than that")
        return Unit.USD, nanos or 0
    check.require(ok=message.pictures > 0, field=f"{path}pictures", text=f"{message.pictures}; give more than 0")
    return Unit.PICTURES, message.pictures


def _thresholds(message: service.Budget, check: Check, path: str) -> tuple[int, ...]:
    for index, percent in enumerate(message.thresholds):
        field = f"{path}thresholds[{index}]"
        check.require(ok=1 <= percent <= 100, field=field, text=f"{percent} is not a percent from 1 to 100")
    many = len(message.thresholds) > MAX_THRESHOLDS
    check.require(ok=not many, field=f"{path}thresholds", text=f"at most {MAX_THRESHOLDS}")
    return tuple(sorted(set(message.thresholds))) or DEFAULT_THRESHOLDS
