"""How long a call takes before `time_scale`: lognormal around the medians of `latency.toml`."""

import math
from typing import Any

from pictord.sandbox import tables
from pictord.sandbox.chance import Chance


def openai_seconds(chance: Chance, *, size: tuple[int, int], quality: str, edit: bool) -> float:
    """Seconds until gpt-image-2 has drawn a picture of `size` pixels."""
    table = tables.read("latency.toml")["openai"]
    pixels = size[0] * size[1]
    larger = [row["factor"] for row in table["larger"] if pixels > row["above_px"]]
    factor = max(larger, default=1.0) * (table["edit_factor"] if edit else 1.0)
    return _draw(chance, table, table["median_s"][quality] * factor)


def gemini_seconds(chance: Chance, *, size: str, thinking: bool, edit: bool) -> float:
    """Seconds until Nano Banana 2 has drawn a picture of `size` (512, 1K, 2K or 4K)."""
    table = tables.read("latency.toml")["gemini"]
    factor = (table["thinking_factor"] if thinking else 1.0) * (table["edit_factor"] if edit else 1.0)
    return _draw(chance, table, table["median_s"][size] * factor)


def partials_at(count: int) -> list[float]:
    """When each of `count` partial images comes, as shares of the whole latency."""
    shares: list[float] = tables.read("latency.toml")["openai"]["partials_at"]
    return shares[:count]


def _draw(chance: Chance, table: dict[str, Any], median: float) -> float:
    drawn = chance.dice("latency").lognormvariate(math.log(median), table["spread"])
    return min(drawn, float(table["longest_s"]))
