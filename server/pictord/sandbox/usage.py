"""Token counts by the providers' documented formulas, and what they cost.

Nothing here looks at a picture's content: tokens follow from sizes, quality and text alone.
Sources: `prices.toml`; the formulas, read 2026-11-22:
community.openai.com/t/1382699 (output) and t/1382940 (input pictures), ai.google.dev/gemini-api/docs/image-generation,
docs.cloud.google.com/vertex-ai/generative-ai/docs/models/gemini/3-1-flash-image (input pictures).
"""

import math
import re
from dataclasses import asdict, dataclass

from pictord.sandbox.tables import Model

_PIECES = re.compile(r"[^\W_]+|[^\w\s]|_")


@dataclass(frozen=True)
class Usage:
    """Tokens of one call by kind; `text_out` holds thinking and every other text token."""

    text_in: int = 0
    image_in: int = 0
    image_out: int = 0
    text_out: int = 0

    @property
    def total(self) -> int:
        """All tokens of the call."""
        return self.text_in + self.image_in + self.image_out + self.text_out

    def nanos(self, model: Model) -> int:
        """The price of these tokens in nano-USD."""
        return sum(count * model.nanos_per_token[kind] for kind, count in asdict(self).items())


def text_tokens(text: str) -> int:
    """An estimate of the tokens of `text`: one for each word of up to 8 letters or sign.

    The real tokenizers need vocabularies of several MB that only a download brings; nothing in the
    accounting depends on the exact number, because both sides settle on what is reported.
    """
    return sum(_piece_tokens(piece) for piece in _PIECES.findall(text))


def _piece_tokens(piece: str) -> int:
    return math.ceil(len(piece) / (8 if piece.isascii() else 2))


def openai_image_out(model: Model, *, width: int, height: int, quality: str) -> int:
    """Output tokens of one picture of `width` x `height` pixels.

    Source: OpenAI's calculator as reverse-engineered at community.openai.com/t/1382699; it gives
    196, 1756 and 7024 for 1024x1024 and 13342 for a high 3840x2160.
    """
    factor = int(model.tokens["quality_factor"][quality])
    longer, shorter = max(width, height), min(width, height)
    across = (2 * factor * shorter + longer) // (2 * longer)
    return math.ceil(factor * across * (2_000_000 + width * height) / 4_000_000)


def openai_image_in(model: Model, *, width: int, height: int) -> int:
    """Input tokens of one picture: 32-pixel patches, at most 1536; 1024x1024 costs 1024.

    Source: community.openai.com/t/1382940.
    """
    table = model.tokens
    patch, budget = int(table["patch_px"]), int(table["patch_budget"])
    magnify: float = max(1.0, min(table["magnify_at_most"], table["magnify_to_px"] / max(width, height)))
    across, down = width * magnify / patch, height * magnify / patch
    across, down = max(across, down / 3), max(down, across / 3)
    if math.ceil(across) * math.ceil(down) > budget:
        shrink = math.sqrt(budget / (across * down))
        across, down = math.floor(across * shrink), math.floor(down * shrink)
    return min(budget, math.ceil(across) * math.ceil(down))


def openai_usage(
    model: Model,
    *,
    prompt: str,
    inputs: list[tuple[int, int]],
    size: tuple[int, int],
    quality: str,
    count: int = 1,
    partials: int = 0,
) -> Usage:
    """Usage of one Images API call; `inputs` are the pixel sizes of the edited pictures."""
    drawn = openai_image_out(model, width=size[0], height=size[1], quality=quality)
    return Usage(
        text_in=text_tokens(prompt) + model.tokens["prompt_overhead"],
        image_in=sum(openai_image_in(model, width=w, height=h) for w, h in inputs),
        image_out=drawn * count + partials * model.tokens["partial"],
    )


def gemini_usage(model: Model, *, texts: list[str], images_in: int, size: str, images_out: int, text_out: int) -> Usage:
    """Usage of one generateContent call; `size` is 512, 1K, 2K or 4K."""
    return Usage(
        text_in=sum(map(text_tokens, texts)),
        image_in=images_in * model.tokens["image_in"],
        image_out=images_out * model.tokens["image_out"][size],
        text_out=text_out,
    )
