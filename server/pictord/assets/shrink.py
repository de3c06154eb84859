"""A picture made small: `python -I -m pictord.assets.shrink SIDE_PX MOST_PIXELS`, from stdin to stdout.

Decoders are where hostile bytes do harm, and what they need is only told by the bytes. So they run in a process of
their own, one for each picture, which has no secrets, writes no file, and may take so much memory and time and no
more. It starts in 30 ms. Nothing else of the service decodes a picture.
"""

import io
import os
import resource
import sys
import warnings

from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 10
_QUALITY = 80
_MODES = {"1": "L", "L": "L", "LA": "RGBA", "P": "RGBA", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}
"""What each way to hold pixels becomes; those with more than 8 bits a channel would not look the same."""


def shrunk(data: bytes, side_px: int, most_pixels: int) -> bytes:
    """The picture as WebP that fits into a square of `side_px`, upright, in its own colours.

    Raises:
        ValueError, OSError: it is none that can be decoded here, or declares more than `most_pixels`.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > most_pixels or getattr(picture, "n_frames", 1) > 1:
            raise ValueError("too many pixels or frames")
        if picture.mode not in _MODES:
            raise ValueError(f"pixels as {picture.mode}")
        profile = picture.info.get("icc_profile") if picture.mode in {"P", "PA", "RGB", "RGBA"} else None
        picture.draft("RGB", (side_px, side_px))  # a JPEG is decoded at an eighth of its size, if that is enough
        small = ImageOps.exif_transpose(picture).convert(_MODES[picture.mode])
        small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
        made = io.BytesIO()
        small.save(made, "WEBP", quality=_QUALITY, icc_profile=profile, exif=b"", xmp=b"")
        return made.getvalue()


def _confine() -> None:
    """Less than the gateway may have; whoever waits for calls goes first."""
    os.nice(10)
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    warnings.simplefilter("ignore")


def main() -> int:
    """Nothing on stdout, and 1, if it cannot be made."""
    _confine()
    side_px, most_pixels = map(int, sys.argv[1:])
    Image.MAX_IMAGE_PIXELS = most_pixels
    try:
        made = shrunk(sys.stdin.buffer.read(), side_px, most_pixels)
    except Exception:  # noqa: BLE001 - whatever a decoder makes of hostile bytes; and what it says may quote them
        return 1
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
