"""The two engines' styles of painting, and the marks that an edit leaves."""

import colorsys
import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

Color = tuple[int, int, int]
Size = tuple[int, int]

DETAIL = {"low": 3, "medium": 5, "high": 8}
BANANA: Color = (255, 206, 50)


def landscape(size: Size, dice: random.Random, quality: str) -> Image.Image:
    """An evening sky with a sun, its glow, and ridges that fade with distance; more ridges for more quality."""
    height = size[1]
    hue = dice.random()
    high, low = _color(hue, 0.72, 0.22), _color(hue + 0.10, 0.55, 0.97)
    image = _gradient(size, [high, _color(hue + 0.05, 0.62, 0.62), low])
    _stars(image, dice, DETAIL[quality] * 22)
    _sun(image, dice, _color(hue + 0.16, 0.28, 1.0))
    ridges = DETAIL[quality]
    for layer in range(ridges):
        depth = (layer + 1) / ridges
        shade = _mix(low, _color(hue - 0.04, 0.80, 0.10), 0.15 + 0.85 * depth)
        _ridge(image, dice, base=height * (0.50 + 0.42 * depth), swing=min(size) * (0.16 - 0.07 * depth), color=shade)
    return image


def tiles(size: Size, dice: random.Random, quality: str) -> Image.Image:
    """A poster of quarter circles, discs and arcs in five flat colours, always with banana yellow among them."""
    hue = dice.random()
    paper = _color(hue, 0.08, 0.97)
    inks = [
        _color(hue, 0.72, 0.80),
        _color(hue + 0.45, 0.60, 0.55),
        _color(hue + 0.10, 0.55, 0.95),
        _color(hue + 0.55, 0.75, 0.28),
        BANANA,
    ]
    twice = size[0] * 2, size[1] * 2
    image = Image.new("RGB", twice, paper)
    draw = ImageDraw.Draw(image)
    rows = {"low": 3, "medium": 4, "high": 6}[quality]
    cell = max(24, min(twice) // rows)
    for top in range(0, twice[1], cell):
        for left in range(0, twice[0], cell):
            _tile(draw, (left, top), cell, dice, inks)
    return image.resize(size, Image.Resampling.BOX)


def brush(canvas: Image.Image, art: Image.Image, dice: random.Random) -> None:
    """Sweep one broad stroke of new paint over `canvas`: the visible change of an edit without a mask."""
    width, height = canvas.size
    small = max(1, width // 4), max(1, height // 4)
    stroke = Image.new("L", small, 0)
    start, end = dice.uniform(0.50, 0.72), dice.uniform(0.30, 0.5)
    points = [
        (small[0] * step / 24, small[1] * (start + (end - start) * step / 24 + 0.06 * math.sin(step / 3)))
        for step in range(-2, 27)
    ]
    ImageDraw.Draw(stroke).line(points, fill=235, width=max(3, min(small) // 6), joint="curve")
    soft = stroke.filter(ImageFilter.GaussianBlur(2)).resize(canvas.size, Image.Resampling.BICUBIC)
    canvas.paste(ImageOps.invert(art), (0, 0), soft)


def cards(canvas: Image.Image, pictures: list[Image.Image]) -> None:
    """Lay `pictures`, the references that were used, as framed cards near the top; what is transparent shows white."""
    if not pictures:
        return
    width, height = canvas.size
    gap = max(2, min(width, height) // 80)
    edge = max(8, min(min(width, height) // 6, (width - gap) // len(pictures) - gap))
    for index, picture in enumerate(pictures):
        left = gap + index * (edge + gap)
        framed = Image.new("RGB", (edge, edge), "white")
        inner = max(4, edge - 2 * (gap // 2 + 1))
        shown = ImageOps.fit(picture.convert("RGBA"), (inner, inner))
        framed.paste(shown, ((edge - inner) // 2,) * 2, shown)
        canvas.paste(framed, (left, gap))


def vignette(size: Size) -> Image.Image:
    """An alpha channel that is solid in a big ellipse and transparent in the corners."""
    small = Image.new("L", (256, 256), 0)
    ImageDraw.Draw(small).ellipse((4, 4, 252, 252), fill=255)
    return small.filter(ImageFilter.GaussianBlur(3)).resize(size, Image.Resampling.BICUBIC)


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _mix(one: Color, other: Color, share: float) -> Color:
    first, second, third = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return first, second, third


def _gradient(size: Size, stops: list[Color]) -> Image.Image:
    column = Image.new("RGB", (1, len(stops)))
    column.putdata(stops)
    return column.resize((1, size[1]), Image.Resampling.BICUBIC).resize(size)


def _stars(image: Image.Image, dice: random.Random, count: int) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        left, top = dice.uniform(0, image.width), image.height * 0.45 * dice.random() ** 1.6
        radius = dice.choice((0.6, 0.8, 1.4)) * min(image.size) / 640
        draw.ellipse((left - radius, top - radius, left + radius, top + radius), fill=(255, 250, 235))


def _sun(image: Image.Image, dice: random.Random, color: Color) -> None:
    radius = min(image.size) * dice.uniform(0.13, 0.19)
    left, top = image.width * dice.uniform(0.58, 0.82), image.height * dice.uniform(0.40, 0.50)
    small = max(1, image.width // 8), max(1, image.height // 8)
    glow = Image.new("L", small, 0)
    halo = radius * 2.2 / 8
    ImageDraw.Draw(glow).ellipse((left / 8 - halo, top / 8 - halo, left / 8 + halo, top / 8 + halo), fill=140)
    glow = glow.filter(ImageFilter.GaussianBlur(halo / 2)).resize(image.size, Image.Resampling.BICUBIC)
    image.paste(ImageChops.screen(image, Image.new("RGB", image.size, color)), (0, 0), glow)
    disc = Image.new("L", image.size, 0)
    ImageDraw.Draw(disc).ellipse((left - radius, top - radius, left + radius, top + radius), fill=255)
    image.paste(color, (0, 0), disc.filter(ImageFilter.GaussianBlur(1)))


def _ridge(image: Image.Image, dice: random.Random, *, base: float, swing: float, color: Color) -> None:
    waves = [(dice.uniform(0.6, 1.4) * 2**octave, dice.uniform(0, math.tau), 1 / 1.9**octave) for octave in range(5)]
    step = max(1, image.width // 320)
    points = [(0.0, float(image.height))]
    for left in range(0, image.width + step, step):
        turn = left / max(image.size) * math.tau
        points.append((left, base - swing * sum(part * math.sin(turn * rate + shift) for rate, shift, part in waves)))
    points.append((float(image.width), float(image.height)))
    ImageDraw.Draw(image).polygon(points, fill=color)


def _tile(draw: ImageDraw.ImageDraw, corner: Size, cell: int, dice: random.Random, inks: list[Color]) -> None:
    left, top = corner
    ground, figure, dot = dice.sample(inks, 3)
    kind = dice.randrange(6)
    if kind != 5:
        draw.rectangle((left, top, left + cell, top + cell), fill=ground)
    if kind in (0, 1):
        middle = left + cell * dice.randrange(2), top + cell * dice.randrange(2)
        for radius, ink in ((cell, figure), (cell // 2, dot if kind else ground)):
            draw.ellipse(_around(middle, radius), fill=ink)
    elif kind == 2:
        draw.ellipse((left, top, left + cell, top + cell), fill=figure)
        draw.ellipse(_inset(corner, cell, 0.30), fill=dot)
    elif kind == 3:
        draw.polygon(((left, top), (left + cell, top), (left, top + cell)), fill=figure)
    elif kind == 4:
        for bar in range(0, 4, 2):
            draw.rectangle((left, top + bar * cell // 4, left + cell, top + (bar + 1) * cell // 4), fill=figure)
    else:
        draw.pieslice((left, top - cell // 2, left + cell, top + cell // 2), 0, 180, fill=figure)
        draw.ellipse(_inset((left, top + cell // 2), cell // 2, 0.1), fill=dot)


def _around(middle: Size, radius: int) -> tuple[int, int, int, int]:
    return middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius


def _inset(corner: Size, cell: int, share: float) -> tuple[float, float, float, float]:
    left, top = corner
    return left + cell * share, top + cell * share, left + cell * (1 - share), top + cell * (1 - share)
