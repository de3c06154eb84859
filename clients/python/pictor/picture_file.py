"""Pictures in files: read whole or refused in one clear sentence, written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import grpc

from pictor.errors import PictorError, Violation

MAX_BYTES = 20 * 2**20
"""Longest picture that the contract takes (`ImageInput`, `UploadImage`)."""


def read(source: str | os.PathLike[str]) -> bytes:
    """Read a file.

    Raises:
        OSError: It cannot be read; the text names it and says why.
    """
    path = Path(source)
    try:
        if path.exists() and not path.is_file():
            raise OSError(_unreadable(path, "a folder" if path.is_dir() else "not a regular file"))
        return path.read_bytes()
    except FileNotFoundError:
        raise OSError(_unreadable(path, "there is none")) from None
    except PermissionError:
        raise OSError(_unreadable(path, "permission denied")) from None


def read_upload(source: str | os.PathLike[str]) -> bytes:
    """Read a file that is to be uploaded; one that is too large is not even read.

    Raises:
        OSError: It cannot be read.
        PictorError: IMAGE_TOO_LARGE.
    """
    path = Path(source)
    if path.is_file():
        check_size(path.stat().st_size)
    return read(path)


def check_size(size_bytes: int) -> None:
    """Refuse a picture that is too large for an upload, in the gateway's own words.

    A gateway that refuses it in the middle of the stream may be heard only as a broken one: HTTP/2 resets the rest.

    Raises:
        PictorError: IMAGE_TOO_LARGE.
    """
    if size_bytes <= MAX_BYTES:
        return
    text = f"the picture has more than {MAX_BYTES} bytes"
    raise PictorError.of(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"data: {text}",
        reason="IMAGE_TOO_LARGE",
        metadata={"field": "data"},
        violations=(Violation("data", text),),
    )


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when all of it is written: half a picture looks like one.

    What the name stood for before stays until then, and for good if anything goes wrong. A device or a pipe is written
    to as it is.

    Raises:
        OSError: It cannot be written; the text names the file.
    """
    path = Path(os.path.realpath(target))  # a link stays one
    is_special = path.exists() and not path.is_file()
    part = path if is_special else path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            yield file
        if not is_special:
            part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    finally:
        if not is_special:
            with suppress(OSError):  # a folder that is gone took it along; why nothing was written is told above
                part.unlink(missing_ok=True)


def _unreadable(path: Path, why: str) -> str:
    return f"`{path}` is no file that can be read: {why}"
