"""When a provider's bytes count as a finished picture."""

from collections.abc import Callable
from typing import Protocol

from pictord.domain.outcome import Unusable
from pictord.providers.base import BadPicture, VerifiedPicture, Verify


class PictureFacts(Protocol):
    """What a picture's structure says of it (`assets.picture.PictureInfo` has it all)."""

    @property
    def mime(self) -> str:
        """The IANA media type, by the bytes."""
        ...

    @property
    def width_px(self) -> int:
        """Width in pixels."""
        ...

    @property
    def height_px(self) -> int:
        """Height in pixels."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the structure reaches its end mark."""
        ...

    @property
    def frames(self) -> int:
        """1, or the number of frames of an animation."""
        ...

    @property
    def has_c2pa(self) -> bool:
        """Whether it carries a C2PA manifest."""
        ...


def verifier(
    inspect: Callable[[bytes], PictureFacts],
    not_a_picture: type[Exception],
    *,
    max_bytes: int = 64 * 1024 * 1024,
    max_pixels: int = 40_000_000,
) -> Verify:
    """Make the function that adapters verify with; the composition root knows who inspects.

    Args:
        inspect: reads a picture's structure, and raises `not_a_picture` for other bytes.
        not_a_picture: what `inspect` raises.
        max_bytes: above this a picture is kept, but marked as over the cap (design section 12).
        max_pixels: the same for its pixels.
    """

    def verify(data: bytes) -> VerifiedPicture:
        try:
            facts = inspect(data)
        except not_a_picture as refusal:
            raise BadPicture(Unusable.WRONG_TYPE, str(refusal)) from None
        if not facts.complete:
            raise BadPicture(Unusable.TRUNCATED, f"the picture breaks off after {len(data)} bytes")
        if facts.frames != 1:
            raise BadPicture(Unusable.WRONG_TYPE, f"an animation of {facts.frames} frames is no picture")
        return VerifiedPicture(
            mime=facts.mime,
            width_px=facts.width_px,
            height_px=facts.height_px,
            has_c2pa=facts.has_c2pa,
            over_cap=len(data) > max_bytes or facts.width_px * facts.height_px > max_pixels,
        )

    return verify
