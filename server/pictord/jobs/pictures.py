"""Pictures going in and out: uploads, inputs, and what was drawn; another caller's picture does not exist."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from pictord.assets.picture import PictureInfo, PictureLimits, PictureProblem, PictureRefused, check, inspect
from pictord.assets.store import AssetMissing, AssetsDown, AssetStore
from pictord.assets.thumbnails import SIDE_PX
from pictord.domain.caller import Caller
from pictord.domain.generation import Image
from pictord.domain.reason import Reason
from pictord.domain.request import InputImage, Unread
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.store.base import Store

_SMALL_BYTES = 48 * 1024
"""Up to this a thumbnail saves nothing worth decoding for."""


async def _no_thumbnail(sha256: str) -> None:
    """There is none."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Looks pictures up, with the caller's rights, and takes new ones in."""

    store: Store
    assets: AssetStore
    limits: PictureLimits
    no_room: Callable[[], str | None] = lambda: None
    """Why no further picture could be kept; None while it could."""
    thumbnail: Callable[[str], Awaitable[bytes | None]] = _no_thumbnail
    """The one of a picture by its SHA-256; None if there is none."""

    async def input_image(self, caller: Caller, *, data: bytes | None, image_id: str | None, field: str) -> InputImage:
        """A picture that a request brings or names, sniffed but never decoded.

        Raises:
            GatewayError: IMAGE_INVALID or IMAGE_TOO_LARGE at `field`; NOT_FOUND or EXPIRED for an id.
        """
        if image_id is not None:
            data = await self.data(await self.image(caller, image_id))
        if not data:
            raise invalid([FieldViolation(field, "needs the bytes of a picture or an image_id", Reason.IMAGE_MISSING)])
        info = self._inspected(data, field)
        sha256 = hashlib.sha256(data).hexdigest()
        return InputImage(data, info.mime, info.width_px, info.height_px, info.has_alpha, sha256)

    async def named_image(self, caller: Caller, image_id: str, field: str) -> InputImage:
        """A picture that a request names, by its record: for a plan, which needs none of its bytes.

        Whether it has transparent pixels, as a mask must, only the bytes tell.

        Raises:
            GatewayError: as `input_image`.
        """
        image = await self.image(caller, image_id)
        info = PictureInfo(
            image.mime,
            image.width_px,
            image.height_px,
            complete=True,
            frames=1,
            has_alpha=False,
            has_c2pa=image.has_c2pa,
        )
        self._check(info, image.size_bytes, field)
        return InputImage(
            Unread(image.size_bytes),
            image.mime,
            image.width_px,
            image.height_px,
            has_alpha=False,
            sha256=image.sha256,
        )

    async def upload(self, caller: Caller, data: bytes) -> Image:
        """Keep a caller's picture for later requests; the same bytes give the same id.

        Raises:
            GatewayError: IMAGE_INVALID, IMAGE_TOO_LARGE, STORE_FULL.
        """
        info = self._inspected(data, "data")
        why = self.no_room()
        if why is not None:
            raise GatewayError(Reason.STORE_FULL, f"there is no room for another picture: {why}")
        sha256 = await self.assets.put(data)
        image = Image(
            id=upload_id(caller, sha256),
            output_index=0,
            mime=info.mime,
            width_px=info.width_px,
            height_px=info.height_px,
            size_bytes=len(data),
            sha256=sha256,
            model="",
            served_model="",
            served_version="",
            has_c2pa=info.has_c2pa,
        )
        await self.store.add_upload(caller.name, image)
        return image

    async def image(self, caller: Caller, image_id: str) -> Image:
        """A drawn or uploaded picture by id.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED; another caller's is NOT_FOUND.
        """
        owned = await self.store.image(image_id)
        owner = owned.caller if owned is not None else await self.store.expired(image_id)
        if owner is None or (owner != caller.name and not caller.may_read_others):
            raise _unknown(image_id)
        if owned is None:
            raise _expired(image_id)
        return owned.image

    async def linked(self, image_id: str) -> Image:
        """A picture for somebody who has a link to it: the link is the right.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED.
        """
        owned = await self.store.image(image_id)
        if owned is not None:
            return owned.image
        is_expired = await self.store.expired(image_id) is not None
        raise _expired(image_id) if is_expired else _unknown(image_id)

    async def data(self, image: Image) -> bytes:
        """The whole picture.

        Raises:
            GatewayError: EXPIRED, STORE_UNAVAILABLE.
        """
        try:
            return await self.assets.get(image.sha256)
        except AssetMissing:
            raise _absent(image.id) from None
        except AssetsDown as down:
            raise not_readable(down) from None

    async def small(self, image: Image) -> bytes | None:
        """The picture as a thumbnail (`assets.thumbnails`); None if it is to be shown as it is."""
        is_small = image.size_bytes <= _SMALL_BYTES or max(image.width_px, image.height_px) <= SIDE_PX
        return None if is_small else await self.thumbnail(image.sha256)

    async def chunks(
        self, image: Image, offset: int, chunk_bytes: int, *, end: int | None = None
    ) -> AsyncGenerator[bytes]:
        """The picture from `offset` up to `end` (None: its end), piece by piece.

        Raises:
            GatewayError: EXPIRED, STORE_UNAVAILABLE.
        """
        try:
            end = image.size_bytes if end is None else end
            async for chunk in self.assets.chunks(image.sha256, offset, chunk_bytes, end=end):
                yield chunk
        except AssetMissing:
            raise _absent(image.id) from None
        except AssetsDown as down:
            raise not_readable(down) from None

    def _inspected(self, data: bytes, field: str) -> PictureInfo:
        try:
            info = inspect(data)
        except PictureRefused as refused:
            raise _not_taken(refused, field) from None
        self._check(info, len(data), field)
        return info

    def _check(self, info: PictureInfo, size_bytes: int, field: str) -> None:
        try:
            check(info, size_bytes, self.limits)
        except PictureRefused as refused:
            raise _not_taken(refused, field) from None


def _not_taken(refused: PictureRefused, field: str) -> GatewayError:
    reason = Reason.IMAGE_TOO_LARGE if refused.problem in _TOO_LARGE else Reason.IMAGE_INVALID
    return invalid([FieldViolation(field, refused.text, reason)])


_TOO_LARGE = frozenset({PictureProblem.TOO_MANY_BYTES, PictureProblem.TOO_MANY_PIXELS, PictureProblem.SIDE_TOO_LONG})


def upload_id(caller: Caller, sha256: str) -> str:
    """The id that a caller's upload of these bytes has, or would have."""
    return "img_" + hashlib.sha256(f"{caller.name}\n{sha256}".encode()).hexdigest()[:26]


def not_readable(down: AssetsDown) -> GatewayError:
    """What is said when a picture is there and cannot be read now."""
    return GatewayError(Reason.STORE_UNAVAILABLE, f"the picture cannot be read now: {down.strerror}")


def _unknown(image_id: str) -> GatewayError:
    return GatewayError(Reason.NOT_FOUND, f"there is no image {image_id!r}", {"image_id": image_id})


def _absent(image_id: str) -> GatewayError:
    """Its record is there."""
    why = "dropped just now, removed by hand, or with a replica that shares no bucket with it"
    text = f"image {image_id!r} is not in this gateway's picture store: {why}"
    return GatewayError(Reason.EXPIRED, text, {"image_id": image_id})


def _expired(image_id: str) -> GatewayError:
    text = f"image {image_id!r} is no longer kept"
    return GatewayError(Reason.EXPIRED, text, {"image_id": image_id})
