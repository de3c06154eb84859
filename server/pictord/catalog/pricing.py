"""What a call costs: before it is made (worst case and expected) and after (the reported usage).

Money is integer nano-USD. A price is nano-USD for a million tokens of a kind; a cost is the exact sum over the kinds,
rounded once, half up, to a nano-dollar. More tokens of any kind never cost less, so the worst case is priced by
counting the most tokens of every kind that the provider's formula can reach.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from pictord.catalog.model import Allowance, Model, PatchTokens, Price
from pictord.domain.money import Usage
from pictord.domain.request import Quality, Resolution

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Draw:
    """One send, as far as it matters for money.

    `prompt_bytes` is the UTF-8 length: no tokenizer makes more tokens than bytes. `input_images` counts the picture to
    edit and the references, not the mask. `thinking` is a level of the model; None means its default.
    """

    prompt_bytes: int
    size_px: tuple[int, int]
    resolution: Resolution
    quality: Quality | None = None
    input_images: int = 0
    masked: bool = False
    previews: int = 0
    thinking: str | None = None


def price(model: Model, usage: Usage, at: date) -> int:
    """Nano-USD for reported tokens at the prices in force on a day."""
    return _cost(model.price_at(at), usage)


def worst_case(model: Model, draw: Draw) -> int:
    """Nano-USD that one send can cost at most, at the model's price in force."""
    return _cost(model.price, worst_usage(model, draw))


def expected(model: Model, draw: Draw) -> int:
    """Nano-USD that one send probably costs, at the model's price in force."""
    return _cost(model.price, expected_usage(model, draw))


def worst_usage(model: Model, draw: Draw) -> Usage:
    """The most tokens of every kind."""
    return _usage(model, draw, draw.prompt_bytes, lambda allowance: allowance.worst)


def expected_usage(model: Model, draw: Draw) -> Usage:
    """The likely tokens; four bytes of prompt make about one."""
    return _usage(model, draw, -(-draw.prompt_bytes // 4), lambda allowance: allowance.expected)


def image_out_tokens(model: Model, *, quality: Quality | None, size_px: tuple[int, int], resolution: Resolution) -> int:
    """Tokens of the finished picture.

    The formula for patches is OpenAI's calculator as read at community.openai.com/t/1382699 on 2026-11-22: it gives
    196, 1756 and 7024 tokens for 1024x1024 at low, medium and high, and 13342 for 3840x2160 at high.
    """
    counted = model.tokens.image_out
    if not isinstance(counted, PatchTokens):
        return counted.tokens[resolution]
    if quality is None:
        raise ValueError(f"{model.id} is priced by quality")
    factor, (longer, shorter) = counted.factors[quality], (max(size_px), min(size_px))
    across = (2 * factor * shorter + longer) // (2 * longer)
    return -(-factor * across * (counted.offset + longer * shorter) // counted.divisor)


def _usage(model: Model, draw: Draw, prompt_tokens: int, choose: Callable[[Allowance], int]) -> Usage:
    tokens = model.tokens
    masks = 1 if draw.masked else 0
    drawn = image_out_tokens(model, quality=draw.quality, size_px=draw.size_px, resolution=draw.resolution)
    return Usage(
        text_in_tokens=prompt_tokens + tokens.prompt_overhead + masks * tokens.mask_prompt,
        image_in_tokens=(draw.input_images + masks) * choose(tokens.image_in),
        text_out_tokens=choose(tokens.thinking_out[draw.thinking or tokens.thinking]),
        image_out_tokens=drawn + draw.previews * tokens.preview_out,
    )


def _cost(rates: Price, usage: Usage) -> int:
    total = (
        usage.text_in_tokens * rates.text_in
        + usage.image_in_tokens * rates.image_in
        + usage.text_out_tokens * rates.text_out
        + usage.image_out_tokens * rates.image_out
    )
    return (total + _MILLION // 2) // _MILLION
