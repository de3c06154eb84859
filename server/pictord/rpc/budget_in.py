"""A budget from the contract: every field, and where it lay if it is wrong."""

from collections.abc import Collection

from pictor.v1 import usage_service_pb2 as service
from pictord.domain.budget import Budget, Unit
from pictord.jobs.budget_setting import Wanted, violations
from pictord.rpc import enums
from pictord.rpc.convert_in import Check, money_nanos


def read_budget(message: service.Budget, providers: Collection[str], check: Check, path: str) -> Budget:
    """What a budget says; `path` leads to it, `providers` are those that the catalog knows.

    Raises:
        GatewayError: INVALID_ARGUMENT with every wrong field.
    """
    unit, amount = _amount(message, check, path)
    wanted = Wanted(
        id=message.id,
        counted=check.enum(f"{path}counted", enums.COUNTED, message.counted),
        key=message.key,
        unit=unit,
        amount=amount,
        window=check.enum(f"{path}window", enums.WINDOW, message.window),
        is_hard=not message.soft,
        thresholds=tuple(message.thresholds),
        tier=check.enum(f"{path}tier", enums.TIER, message.tier),
    )
    for each in violations(wanted, providers):
        if f"{path}{each.field}" not in check.wrong:
            check.fail(f"{path}{each.field}", each.text)
    check.done()
    return wanted.budget()


def _amount(message: service.Budget, check: Check, path: str) -> tuple[Unit | None, int | None]:
    kind = message.WhichOneof("amount")
    if kind is None:
        return None, None
    if kind == "usd":
        return Unit.USD, check.value(f"{path}usd", lambda: money_nanos(message.usd))
    return Unit.PICTURES, message.pictures
