"""Pictures in pieces: download with resumption, upload."""

import hashlib
from collections.abc import Callable, Iterator

from pictor.events import check, damaged
from pictor.v1 import image_pb2
from pictor.v1.history_service_pb2 import DownloadImageRequest, DownloadImageResponse, UploadImageRequest

_UPLOAD_CHUNK_BYTES = 512 * 2**10
"""Below the contract's 1 MiB a message."""


class Download:
    """One picture on its way: what has arrived, and where to go on after a lost connection.

    Args:
        image_id: Of the picture.
        write: Takes its bytes, piece by piece, in order.
    """

    def __init__(self, image_id: str, write: Callable[[bytes], object]) -> None:
        self._image_id = image_id
        self._write = write
        self._image: image_pb2.Image | None = None
        self._size_bytes = 0
        self._sha256 = hashlib.sha256()

    @property
    def request(self) -> DownloadImageRequest:
        """Asks for what is still missing."""
        return DownloadImageRequest(image_id=self._image_id, offset_bytes=self._size_bytes)

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there; never asks for the rest of a whole picture."""
        return self._image is not None and self._size_bytes >= self._image.size_bytes

    @property
    def image(self) -> image_pb2.Image:
        """The picture's description, when its bytes are there.

        Raises:
            PictorError: DATA_LOSS, the bytes are not those that the gateway described.
        """
        if self._image is None:
            raise damaged(f"picture {self._image_id} came without its description")
        check(self._image, self._size_bytes, self._sha256.hexdigest())
        return self._image

    def feed(self, message: DownloadImageResponse) -> None:
        """Take the next message.

        Raises:
            PictorError: DATA_LOSS, it does not follow what is there.
        """
        if message.HasField("image"):
            if self._image is not None and self._image.sha256 != message.image.sha256:
                raise damaged(f"picture {self._image_id} changed during the download")
            self._image = message.image
        elif message.HasField("chunk"):
            if message.chunk.offset_bytes != self._size_bytes:
                raise damaged(f"picture {self._image_id}: expected byte {self._size_bytes}, got another")
            self._write(message.chunk.data)
            self._size_bytes += len(message.chunk.data)
            self._sha256.update(message.chunk.data)


def upload_parts(data: bytes) -> Iterator[UploadImageRequest]:
    """The messages of an upload."""
    return (
        UploadImageRequest(data=data[at : at + _UPLOAD_CHUNK_BYTES]) for at in range(0, len(data), _UPLOAD_CHUNK_BYTES)
    )
