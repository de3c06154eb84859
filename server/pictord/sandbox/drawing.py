"""Pictures for both engines: quick to draw, pretty to look at, and the same for the same request.

gpt-image-2 paints an evening landscape, Nano Banana 2 prints a poster of geometric tiles; both take their colours
from a hash of the prompt, set the prompt as a title, and end in a caption strip that names the engine. A scene is
drawn small, scaled up, and given film grain, which also makes files as heavy as real ones (1.2 to 2.2 bytes a pixel
as PNG). Text is set at full size so that it stays crisp in 4K.

Everything runs in a worker thread: Pillow frees the GIL while it scales and encodes.
"""

import hashlib
import io
import random
from dataclasses import dataclass, replace
from functools import lru_cache

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from pictord.sandbox import lettering, motifs

WORKING_EDGE_PX = 1280
GRAIN_BAND_PX = 64
GRAIN = {"low": 5, "medium": 8, "high": 11}


@dataclass(frozen=True)
class Scene:
    """Everything a picture depends on."""

    provider: str
    model: str
    prompt: str
    width: int
    height: int
    quality: str
    """`low`, `medium` or `high`: how much detail is drawn."""
    label: str
    """Quality or size as the provider calls it, for the caption."""
    seed: int | None = None
    variation: int = 0
    inputs: tuple[bytes, ...] = ()
    """Encoded pictures; the first is the one that is edited."""
    mask: bytes | None = None
    transparent: bool = False
    progress: float = 1.0
    """1 for the finished picture, less for a partial one."""


@dataclass(frozen=True)
class Encoding:
    """How a picture is written: `png`, `jpeg` or `webp`, with the quality 0..100 of the last two."""

    format: str = "png"
    quality: int = 95


@lru_cache(maxsize=12)
def picture(scene: Scene, encoding: Encoding) -> bytes:
    """The encoded picture of `scene`, exactly `width` x `height` pixels."""
    return encode(draw(scene), encoding)


def draw(scene: Scene) -> Image.Image:
    """Draw `scene`, finished or partial."""
    if scene.progress < 1.0:
        return _unfinished(draw(replace(scene, progress=1.0)), scene.progress)
    if scene.mask is not None:
        return _repaint_hole(scene)
    canvas = _edited(scene) if scene.inputs else _painted(scene)
    lettering.caption(canvas, _caption(scene), scene.provider)
    return canvas


def encode(image: Image.Image, encoding: Encoding) -> bytes:
    """Write `image`; PNG with the quickest compression, JPEG with halved colour resolution as the providers do."""
    out = io.BytesIO()
    if encoding.format == "png":
        image.save(out, "PNG", compress_level=1)
    elif encoding.format == "webp":
        image.save(out, "WEBP", quality=encoding.quality, method=0)
    else:
        image.convert("RGB").save(out, "JPEG", quality=encoding.quality, subsampling="4:2:0")
    return out.getvalue()


def _dice(scene: Scene) -> random.Random:
    key = f"{scene.provider}|{scene.prompt}|{scene.seed}|{scene.variation}"
    return random.Random(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())


def _motif(scene: Scene) -> Image.Image:
    scale = min(1.0, WORKING_EDGE_PX / max(scene.width, scene.height)) if scene.width * scene.height else 1.0
    small = max(24, round(scene.width * scale)), max(24, round(scene.height * scale))
    paint = motifs.landscape if scene.provider == "openai" else motifs.tiles
    art = paint(small, _dice(scene), scene.quality)
    return art.resize((scene.width, scene.height), Image.Resampling.BICUBIC)


def _painted(scene: Scene) -> Image.Image:
    canvas = _grained(_motif(scene), scene)
    if scene.transparent:
        canvas.putalpha(motifs.vignette(canvas.size))
    lettering.title(canvas, scene.prompt, scene.provider)
    return canvas


def _edited(scene: Scene) -> Image.Image:
    """The first input, re-coloured in the prompt's colours, with the other inputs as a row of cards."""
    base = _fitted(scene.inputs[0], scene).convert("RGB")
    art = _motif(scene)
    mixed = Image.blend(ImageOps.autocontrast(base, cutoff=1), ImageChops.soft_light(base, art), 0.75)
    canvas = _grained(mixed, scene)
    motifs.brush(canvas, art, _dice(scene))
    motifs.cards(canvas, [_opened(data) for data in scene.inputs[1:]])
    lettering.title(canvas, scene.prompt, scene.provider, small=True)
    return canvas


def _repaint_hole(scene: Scene) -> Image.Image:
    """The first input with new paint exactly where the mask's alpha is 0; every other pixel stays."""
    mask = _opened(scene.mask or b"").convert("RGBA").resize((scene.width, scene.height), Image.Resampling.NEAREST)
    hole = mask.getchannel("A").point(lambda alpha: 255 if alpha == 0 else 0)
    base = _fitted(scene.inputs[0], scene)
    canvas = base.convert("RGBA" if "A" in base.getbands() else "RGB")
    paint = _motif(scene)
    box = hole.getbbox()
    if box is None:
        return canvas
    inside = paint.crop(box)
    lettering.title(inside, scene.prompt, scene.provider, small=True)
    paint.paste(inside, box[:2])
    canvas.paste(paint, (0, 0), hole)
    return canvas


def _fitted(data: bytes, scene: Scene) -> Image.Image:
    image = _opened(data)
    if image.size == (scene.width, scene.height):
        return image
    return ImageOps.fit(image.convert("RGB"), (scene.width, scene.height), Image.Resampling.BICUBIC)


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _unfinished(final: Image.Image, progress: float) -> Image.Image:
    """What the picture looks like at `progress`: coarse and pale first, then blurred, then nearly sharp."""
    width, height = final.size
    cells = max(8, round(64 * progress * progress) + 8)
    coarse = max(2, round(cells * width / max(final.size))), max(2, round(cells * height / max(final.size)))
    softly = Image.Resampling.BICUBIC
    image = (
        final.convert("RGB").resize(coarse, Image.Resampling.BOX).resize((width // 4 or 1, height // 4 or 1), softly)
    )
    image = image.filter(ImageFilter.GaussianBlur(6 * (1 - progress))).resize((width, height), softly)
    return ImageEnhance.Color(image).enhance(0.45 + 0.5 * progress)


def _grained(image: Image.Image, scene: Scene) -> Image.Image:
    """Add film grain, `GRAIN` levels of 256 strong, from bands as wide as the picture.

    A narrower tile would repeat within the 32 KiB that PNG's compression looks back, and weigh nothing.
    """
    band = _grain_band(image.width, GRAIN[scene.quality])
    full = Image.new("L", image.size)
    for top in range(0, image.height, GRAIN_BAND_PX):
        full.paste(band, (0, top))
    return ImageChops.add(image, Image.merge("RGB", (full, full, full)), offset=-128)


@lru_cache(maxsize=8)
def _grain_band(width: int, strength: int) -> Image.Image:
    noise = random.Random(strength).randbytes(width * GRAIN_BAND_PX)
    table = [128 + (level - 128) * strength // 128 for level in range(256)]
    return Image.frombytes("L", (width, GRAIN_BAND_PX), noise).point(table)


def _caption(scene: Scene) -> list[str]:
    words = [scene.model, scene.label, f"{scene.width} x {scene.height}"]
    words.append(f"seed {scene.seed}" if scene.seed is not None else "no seed")
    if scene.inputs:
        words.append("edit" if len(scene.inputs) == 1 else f"edit of {len(scene.inputs)} pictures")
    return words
