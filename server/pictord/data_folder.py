"""The data directory: ours alone while we run, and the small secrets that are kept in it."""

import fcntl
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pictord.settings import SettingsError

_DATA_DIR = "data_dir (PICTOR_DATA_DIR)"


@contextmanager
def data_folder(data_dir: Path | None) -> Iterator[Path]:
    """The data directory, ours alone while we run; without one a temporary folder that goes with the process."""
    if data_dir is None:
        with tempfile.TemporaryDirectory(prefix="pictor-") as folder:
            yield Path(folder)
        return
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise _unusable(data_dir, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"{_DATA_DIR} {data_dir}: another pictord is using it") from None
        yield data_dir


def check_data_folder(data_dir: Path | None) -> None:
    """Refuse a data folder that cannot be made or written, without making it: a folder is tried where it would be."""
    if data_dir is None:
        return
    try:
        there = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(prefix="pictor-", dir=there):
            pass
    except OSError as error:
        raise _unusable(data_dir, error) from None


def _unusable(data_dir: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{_DATA_DIR}: cannot keep pictures in {data_dir}: {error.strerror}")


def kept_key(file: Path) -> bytes:
    """A secret that is made once; only we may read it."""
    if not file.exists():
        replace_file(file, secrets.token_bytes(32))
    return file.read_bytes()


def replace_file(file: Path, content: bytes) -> None:
    """Write a file that only we may read, whole or not at all."""
    fresh = file.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_bytes(content)
    fresh.replace(file)
