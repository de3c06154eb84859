"""Where pictures and previews are saved, and under which names."""

import errno
import re
import tempfile
from pathlib import Path

from pictor.events import Event, Image, Preview
from pictor.generation import EXTENSIONS, Picture
from pictor.picture_file import whole_file


class Folder:
    """Saves what a generation brings into one folder, made when the folder object is made.

    Raises:
        ValueError: The folder cannot be made, or takes no file; found out before anything is sent.
    """

    def __init__(self, path: Path) -> None:
        doing = "make"
        try:
            path.mkdir(parents=True, exist_ok=True)
            doing = "write into"
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
            raise ValueError(f"--out: cannot {doing} {path} ({why}); nothing was sent; {remedy(error)}") from None
        self._path = path

    def save(self, event: Event, generation_id: str, prefix: str = "") -> Path | None:
        """Save the bytes of an event: `ID-0.png`, `ID-0-preview-1.png`; None if it brings none."""
        match event:
            case Preview(data=bytes(data)):
                ending = EXTENSIONS.get(event.mime_type, "bin")
                name = f"{generation_id}-{event.output_index}-preview-{event.index + 1}.{ending}"
            case Image(data=bytes(data)):
                name = f"{generation_id}-{event.picture.message.output_index}.{event.picture.extension}"
            case _:
                return None
        target = self._path / safe(f"{prefix}-{name}" if prefix else name)
        with whole_file(target) as file:
            file.write(data)
        return target

    def save_picture(self, picture: Picture) -> Path:
        """Save one picture under its id."""
        return picture.save(self._path / safe(f"{picture.id}.{picture.extension}"))


def is_full(error: OSError) -> bool:
    """Whether there is no room left, and room is all that it takes."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def remedy(error: OSError) -> str:
    """What helps where a file cannot be written."""
    return "make room" if is_full(error) else "choose another folder"


def safe(name: str) -> str:
    """A file name without folders or other surprises, whatever the text."""
    return re.sub(r"[^\w.-]", "-", name).lstrip(".-") or "picture"
