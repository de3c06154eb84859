"""What a call costs: before it is made (worst case and expected) and after (the reported usage).

Money is integer nano-USD. A price is nano-USD for a million tokens of a kind; a cost is the exact sum over the kinds,
rounded once, half up, to a nano-dollar. More tokens of any kind never cost less, so the worst case is priced by
counting the most tokens of every kind that the provider's formula can reach.
"""

from datetime import date
from typing import NamedTuple

from pictord.catalog.model import Model, PatchTokens, Price
from pictord.domain.money import Usage
from pictord.domain.request import Quality, Resolution

_MILLION = 1_000_000


class Draw(NamedTuple):
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


class Estimate(NamedTuple):
    """Nano-USD that one send can cost at most, and probably costs."""

    worst_nanos: int
    expected_nanos: int


def estimate(model: Model, draw: Draw) -> Estimate:
    """Price one send before it is made, at the model's price in force."""
    drawn = _drawn_tokens(model, draw)
    worst, likely = _worst_usage(model, draw, drawn), _expected_usage(model, draw, drawn)
    return Estimate(_cost(model.price, worst), _cost(model.price, likely))


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


def _drawn_tokens(model: Model, draw: Draw) -> int:
    finished = image_out_tokens(model, quality=draw.quality, size_px=draw.size_px, resolution=draw.resolution)
    return finished + draw.previews * model.tokens.preview_out


def _worst_usage(model: Model, draw: Draw, drawn: int) -> Usage:
    """The most tokens of every kind."""
    tokens = model.tokens
    return Usage(
        text_in_tokens=draw.prompt_bytes + tokens.prompt_overhead + draw.masked * tokens.mask_prompt,
        image_in_tokens=(draw.input_images + draw.masked) * tokens.image_in.worst,
        text_out_tokens=tokens.thinking_out[draw.thinking or tokens.thinking].worst,
        image_out_tokens=drawn,
    )


def _expected_usage(model: Model, draw: Draw, drawn: int) -> Usage:
    """The likely tokens; four bytes of prompt make about one."""
    tokens = model.tokens
    return Usage(
        text_in_tokens=-(-draw.prompt_bytes // 4) + tokens.prompt_overhead + draw.masked * tokens.mask_prompt,
        image_in_tokens=(draw.input_images + draw.masked) * tokens.image_in.expected,
        text_out_tokens=tokens.thinking_out[draw.thinking or tokens.thinking].expected,
        image_out_tokens=drawn,
    )


def _cost(rates: Price, usage: Usage) -> int:
    total = (
        usage.text_in_tokens * rates.text_in
        + usage.image_in_tokens * rates.image_in
        + usage.text_out_tokens * rates.text_out
        + usage.image_out_tokens * rates.image_out
    )
    return (total + _MILLION // 2) // _MILLION
