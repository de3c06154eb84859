"""Pictures in pieces: download with resumption, upload."""

from collections.abc import AsyncIterator, Iterator

from pictor.events import checked, damaged
from pictor.generation import Picture
from pictor.v1 import image_pb2
from pictor.v1.history_service_pb2 import DownloadImageRequest, DownloadImageResponse, UploadImageRequest

_UPLOAD_CHUNK_BYTES = 512 * 2**10
"""Below the contract's 1 MiB a message."""


class Download:
    """One picture on its way: what has arrived, and where to go on after a lost connection."""

    def __init__(self, image_id: str) -> None:
        self._image_id = image_id
        self._image: image_pb2.Image | None = None
        self._data = bytearray()

    @property
    def request(self) -> DownloadImageRequest:
        """Asks for what is still missing."""
        return DownloadImageRequest(image_id=self._image_id, offset_bytes=len(self._data))

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there; never asks for the rest of a whole picture."""
        return self._image is not None and len(self._data) >= self._image.size_bytes

    @property
    def picture(self) -> Picture:
        """The picture.

        Raises:
            PictorError: DATA_LOSS, the bytes are not those that the gateway described.
        """
        if self._image is None:
            raise damaged(f"picture {self._image_id} came without its description")
        return Picture(self._image, checked(self._image, bytes(self._data)))

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
            if message.chunk.offset_bytes != len(self._data):
                raise damaged(f"picture {self._image_id}: expected byte {len(self._data)}, got another")
            self._data += message.chunk.data


async def upload_parts(data: bytes) -> AsyncIterator[UploadImageRequest]:
    """The messages of an upload."""
    for part in _parts(data):
        yield UploadImageRequest(data=part)


def _parts(data: bytes) -> Iterator[bytes]:
    return (data[at : at + _UPLOAD_CHUNK_BYTES] for at in range(0, len(data), _UPLOAD_CHUNK_BYTES))
