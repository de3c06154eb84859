"""Randomness that depends on what is asked, never on when it arrives.

Every draw is keyed by (seed, provider, prompt, how often that prompt has come, purpose), so a run with a
thousand calls at once gives each prompt the same latency and the same faults as a run one by one.
"""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Chance:
    """The dice of one call."""

    seed: int
    provider: str
    prompt: str
    occurrence: int
    """1 for the first time this prompt comes to this provider."""

    def dice(self, purpose: str) -> random.Random:
        """A generator of its own for `purpose`, the same in every run."""
        key = f"{self.seed}|{self.provider}|{self.occurrence}|{purpose}|{self.prompt}"
        return random.Random(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())


class Occurrences:
    """Counts how often each prompt came to each provider."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._seen: Counter[tuple[str, str]] = Counter()

    def next(self, provider: str, prompt: str) -> Chance:
        """The dice of the next call with `prompt`."""
        self._seen[provider, prompt] += 1
        return Chance(self._seed, provider, prompt, self._seen[provider, prompt])

    def clear(self) -> None:
        """Forget every prompt."""
        self._seen.clear()
