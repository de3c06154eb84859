"""Titles and caption strips, set at the picture's full size."""

import unicodedata
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK: dict[str, tuple[Color, Color]] = {
    "openai": ((255, 255, 255), (12, 10, 30)),
    "gemini": ((28, 24, 20), (255, 249, 232)),
}
"""Text colour and the colour behind it."""
STRIP: dict[str, tuple[Color, Color]] = {
    "openai": ((12, 10, 30), (232, 226, 255)),
    "gemini": ((255, 206, 50), (36, 28, 8)),
}
"""The caption strip's ground and text."""
LONGEST_TITLE = 90


def title(canvas: Image.Image, prompt: str, provider: str, *, small: bool = False) -> None:
    """Set the beginning of `prompt` large at the top of `canvas`, or small on a card above the caption strip."""
    width, height = canvas.size
    margin = max(3, round(min(width, height) * 0.06))
    size = max(9, round(min(width, height) / (14 if small else 8.5)))
    lines, font = _fit(_shortened(prompt), size, width - 2 * margin, 2 if small else 4)
    leading = round(_size(font) * 1.22)
    low = max(0, height - strip_height(canvas.size) - margin - leading * len(lines))
    left, top = margin, low if small else margin
    draw = ImageDraw.Draw(canvas)
    color, behind = INK[provider]
    if small or provider == "gemini":
        _card(draw, lines, font, place=(left, top), leading=leading, color=behind)
    for line in lines:
        shift = max(1, leading // 24)
        draw.text((left + shift, top + shift), line, font=font, fill=behind)
        draw.text((left, top), line, font=font, fill=color, stroke_width=leading // 60, stroke_fill=color)
        top += leading


def caption(canvas: Image.Image, words: list[str], provider: str) -> None:
    """Draw the strip along the lower edge that says SANDBOX and what made the picture."""
    width, height = canvas.size
    strip = strip_height(canvas.size)
    ground, color = STRIP[provider]
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, height - strip, width, height), fill=ground)
    text = "  ·  ".join(["SANDBOX", *words] if width > strip * 12 else ["SANDBOX", words[0]])
    size = round(strip * 0.46)
    while size > 6 and draw.textlength(text, font=_font(size, text)) > width * 0.94:
        size -= 1
    draw.text((width * 0.03, height - strip / 2), text, font=_font(size, text), fill=color, anchor="lm")


def strip_height(size: tuple[int, int]) -> int:
    """Height of the caption strip in pixels."""
    return max(14, round(min(min(size) * 0.075, max(size) * 0.05)))


def _shortened(prompt: str) -> str:
    text = " ".join(prompt.split())
    printable = "".join(sign for sign in text if unicodedata.category(sign)[0] != "C")
    return printable if len(printable) <= LONGEST_TITLE else printable[: LONGEST_TITLE - 1].rstrip() + "…"


def _fit(text: str, size: int, width: int, most_lines: int) -> tuple[list[str], Font]:
    while True:
        font = _font(size, text)
        lines = _wrapped(text, font, width)
        if size <= 9 or (len(lines) <= most_lines and all(font.getlength(line) <= width for line in lines)):
            return lines[:most_lines], font
        size = max(9, round(size * 0.9))


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _card(
    draw: ImageDraw.ImageDraw, lines: list[str], font: Font, *, place: tuple[int, int], leading: int, color: Color
) -> None:
    pad = leading // 3
    right = place[0] + max((font.getlength(line) for line in lines), default=0)
    box = (place[0] - pad, place[1] - pad, right + pad, place[1] + leading * len(lines) + pad)
    draw.rounded_rectangle(box, radius=pad, fill=color)


def _size(font: Font) -> float:
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else 11


def _font(size: int, text: str) -> Font:
    """Pillow's own font, or an installed one with more scripts when `text` leaves Latin-1."""
    return _loaded(size, wide=any(ord(sign) > 0xFF and not 0x2010 <= ord(sign) <= 0x2026 for sign in text))


@lru_cache(maxsize=256)
def _loaded(size: int, *, wide: bool) -> Font:
    if wide:
        try:
            return ImageFont.truetype("DejaVuSans-Bold.ttf", size)
        except OSError:  # not installed: boxes instead of letters do no harm
            pass
    return ImageFont.load_default(size)
