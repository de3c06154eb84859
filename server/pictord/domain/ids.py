"""Ids that sort by age: a prefix, 48 bits of milliseconds, 80 random bits that never run backwards."""

from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_RANDOM_BITS = 80


class Ids:
    """Makes ids such as `gen_01k9x...` (Crockford base 32, lower case, 26 characters after the prefix).

    Args:
        now_ms: milliseconds since 1970.
        random_bits: that many random bits, as an integer.
    """

    def __init__(self, now_ms: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._now_ms = now_ms
        self._random_bits = random_bits
        self._last = 0

    def __call__(self, prefix: str) -> str:
        """A new id, greater than every earlier one with the same prefix."""
        fresh = (self._now_ms() << _RANDOM_BITS) | self._random_bits(_RANDOM_BITS - 1)
        self._last = max(fresh, self._last + 1)
        return f"{prefix}_{_base32(self._last)}"


def _base32(number: int) -> str:
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
