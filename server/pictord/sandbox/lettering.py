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
    """Set the beginning of `prompt` large on the upper left of `canvas`, in at most four lines."""
    width, height = canvas.size
    margin = max(3, round(min(width, height) * 0.06))
    size = max(9, round(min(width, height) / (14 if small else 8.5)))
    text = _shortened(prompt)
    lines, font = _fit(text, size, width - 2 * margin, 2 if small else 4)
    leading = round(_size(font) * 1.22)
    top = height - strip_height(canvas.size) - margin - leading * len(lines) if small else margin
    draw = ImageDraw.Draw(canvas)
    if provider == "gemini":
        _card(draw, lines, font, (margin, max(0, top)), leading)
    color, shadow = INK[provider]
    for index, line in enumerate(lines):
        place = (margin, max(0, top) + index * leading)
        if provider == "openai":
            draw.text(
                (place[0] + max(1, leading // 30), place[1] + max(1, leading // 22)), line, font=font, fill=shadow
            )
        draw.text(place, line, font=font, fill=color, stroke_width=max(0, leading // 60), stroke_fill=color)


def caption(canvas: Image.Image, words: list[str], provider: str) -> None:
    """Draw the strip along the lower edge that says SANDBOX and what made the picture."""
    width, height = canvas.size
    strip = strip_height(canvas.size)
    ground, color = STRIP[provider]
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, height - strip, width, height), fill=ground)
    lines = _caption_lines(["SANDBOX", *words], width, strip)
    size = round(strip * 0.46)
    for text in lines:
        while size > 6 and draw.textlength(text, font=_font(size, text)) > width * 0.94:
            size -= 1
    font = _font(size, "".join(lines))
    draw.text((width * 0.03, height - strip / 2), "\n".join(lines), font=font, fill=color, anchor="lm")


def strip_height(size: tuple[int, int]) -> int:
    """Height of the caption strip in pixels."""
    return max(14, round(min(min(size) * 0.075, max(size) * 0.05)))


def _caption_lines(words: list[str], width: int, strip: int) -> list[str]:
    fits = width > strip * 12
    return ["  ·  ".join(words)] if fits else ["  ·  ".join(words[:2])]


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


def _card(draw: ImageDraw.ImageDraw, lines: list[str], font: Font, place: tuple[int, int], leading: int) -> None:
    pad = leading // 3
    right = place[0] + max((font.getlength(line) for line in lines), default=0)
    box = (place[0] - pad, place[1] - pad, right + pad, place[1] + leading * len(lines) + pad)
    draw.rounded_rectangle(box, radius=pad, fill=INK["gemini"][1])


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
