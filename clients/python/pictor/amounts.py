"""US dollars and seconds, to and from the messages that carry them."""

from decimal import Decimal, InvalidOperation

from google.protobuf.duration_pb2 import Duration

from pictor.v1.image_pb2 import Money

Usd = Decimal | str | int | float
"""An amount in US dollars; text and Decimal are exact."""


def money(amount: Usd | Money) -> Money:
    """Turn US dollars into Money, exactly.

    Raises:
        ValueError: Not a number, not finite, or finer than a billionth of a dollar.
    """
    if isinstance(amount, Money):
        return amount
    try:
        nanos = Decimal(str(amount)).scaleb(9)
    except InvalidOperation:
        raise ValueError(f"`{amount}` is not an amount of US dollars such as 0.25") from None
    if not nanos.is_finite() or nanos != nanos.to_integral_value():
        raise ValueError(f"`{amount}` is not an amount of US dollars with at most nine decimals")
    units, rest = divmod(abs(int(nanos)), 10**9)
    sign = -1 if nanos < 0 else 1
    return Money(currency_code="USD", units=sign * units, nanos=sign * rest)


def usd(amount: Money) -> Decimal:
    """Turn Money into US dollars, exactly."""
    return Decimal(amount.units) + Decimal(amount.nanos).scaleb(-9)


def seconds(span: Duration) -> float:
    """Turn a Duration into seconds."""
    return span.seconds + span.nanos / 1e9


def duration(span_s: float) -> Duration:
    """Turn seconds into a Duration.

    Raises:
        ValueError: Beyond what a Duration holds, 10,000 years.
    """
    message = Duration()
    try:
        message.FromNanoseconds(round(span_s * 1e9))
    except (OverflowError, ValueError):
        raise ValueError(f"`{span_s}` is not a span of time in seconds") from None
    return message
