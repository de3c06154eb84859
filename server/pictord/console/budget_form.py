"""The form of a budget on Spend: from its fields to a budget, and back; pure. Fields are called as in the contract."""

import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from pictord.console.templates import plain_usd
from pictord.domain.budget import Budget, Counted, Unit, Window
from pictord.domain.money import parse_usd
from pictord.domain.request import Tier
from pictord.errors import FieldViolation, invalid
from pictord.jobs.budget_setting import DEFAULT_THRESHOLDS, Wanted, violations

E = TypeVar("E", bound=StrEnum)

FIELDS = ("id", "counted", "key", "amount", "unit", "window", "soft", "tier", "thresholds")
"""In the order of the form."""
CHOICES: Mapping[str, Mapping[str, str]] = {
    "counted": {
        Counted.CALLER: "A caller",
        Counted.TIER: "A tier",
        Counted.END_USER: "An end user",
        Counted.PROVIDER: "A provider account",
        Counted.GLOBAL: "Everybody",
    },
    "tier": {"": "Of every tier"} | {each.value: f"Of tier {each.value} alone" for each in Tier},
    "unit": {Unit.USD: "US dollars", Unit.PICTURES: "pictures"},
    "window": {Window.MONTH: "A month (UTC)", Window.DAY: "A day (UTC)"},
    "soft": {"": "Refuse it", "yes": "Only alert"},
}
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)

BLANK = {"counted": Counted.CALLER.value, "unit": Unit.USD.value, "window": Window.MONTH.value}
"""What a new one begins with."""


def typed(form: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What a browser has sent."""
    return {name: form[name][0] for name in FIELDS if form.get(name)}


def read(asked: Mapping[str, str], providers: Collection[str]) -> Budget:
    """The budget that the form asks for.

    Raises:
        GatewayError: INVALID_FIELD with everything that is wrong.
    """
    wrong: list[FieldViolation] = []
    text = {name: asked.get(name, "").strip() for name in FIELDS}
    unit = _option(text["unit"], Unit)
    if text["tier"] and _option(text["tier"], Tier) is None:
        wrong.append(FieldViolation("tier", "choose one of the tiers"))
    amount = _amount(text["amount"], unit)
    if amount is None and unit is not None:
        example = "dollars, such as 250 or 0.55" if unit is Unit.USD else "pictures, a whole number"
        wrong.append(FieldViolation("amount", f"give an amount in {example}"))
    percents = text["thresholds"].replace(",", " ").replace("%", " ").split()
    if not all(map(_NUMBER.fullmatch, percents)):
        wrong.append(FieldViolation("thresholds", "whole percents with commas between, such as 50, 80, 100"))
        percents = []
    wanted = Wanted(
        id=text["id"],
        counted=_option(text["counted"], Counted),
        key=text["key"],
        unit=unit,
        amount=amount,
        window=_option(text["window"], Window),
        is_hard=not text["soft"],
        thresholds=tuple(map(int, percents)),
        tier=_option(text["tier"], Tier),
    )
    wrong += violations(wanted, providers)
    if wrong:
        raise invalid(wrong)
    return wanted.budget()


def written(budget: Budget) -> dict[str, str]:
    """The form that asks for this budget; the inverse of `read`."""
    return {
        "id": budget.id,
        "counted": budget.counted.value,
        "key": budget.key,
        "tier": budget.tier.value if budget.tier else "",
        "amount": plain_usd(budget.amount) if budget.unit is Unit.USD else str(budget.amount),
        "unit": budget.unit.value,
        "window": budget.window.value,
        "soft": "" if budget.is_hard else "yes",
        "thresholds": "" if budget.thresholds == DEFAULT_THRESHOLDS else ", ".join(map(str, budget.thresholds)),
    }


def problems_at(found: Sequence[FieldViolation]) -> dict[str, str]:
    """What is to be read at each field; at those without a problem nothing."""
    problems = dict.fromkeys(FIELDS, "")
    for each in found:
        name = _SHOWN_AT.get(each.field, each.field.partition("[")[0])
        text = each.text if problems[name] else each.text[:1].upper() + each.text[1:]
        problems[name] = f"{problems[name]}; {text}" if problems[name] else text
    return problems


_SHOWN_AT = {Unit.USD.value: "amount", Unit.PICTURES.value: "amount"}


def _option(text: str, options: type[E]) -> E | None:
    return options(text) if text in set(options) else None


def _amount(text: str, unit: Unit | None) -> int | None:
    """Nano-USD or pictures; None if it cannot be read."""
    if unit is Unit.PICTURES:
        return int(text) if _NUMBER.fullmatch(text) else None
    try:
        return parse_usd(text.removeprefix("$"))
    except ValueError:
        return None
