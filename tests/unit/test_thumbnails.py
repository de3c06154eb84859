"""Thumbnails: what they look like, what is refused, how long they are kept, and that they go with their picture."""

import asyncio
import io
import struct
import sys
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from pictord.assets import thumbnails
from pictord.assets.objects import in_folder
from pictord.assets.shrink import shrunk
from pictord.assets.thumbnails import KEEP_S, LIMITS, SIDE_PX, Thumbnails

MANY = LIMITS.max_pixels


def encoded(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def picture(width=1600, height=1200, colour=(200, 40, 40)) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


# --- one picture made small


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("size", "small"), [((1600, 1200), (512, 384)), ((900, 2100), (219, 512))])
def test_the_longer_side_is_as_long_as_it_is_shown(form, size, small):
    """As WebP, in the same ratio and colour."""
    made = opened(shrunk(encoded(picture(*size), form), SIDE_PX, MANY))

    assert (made.format, made.size) == ("WEBP", small)
    assert all(abs(a - b) < 6 for a, b in zip(made.convert("RGB").getpixel((9, 9)), (200, 40, 40), strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_way_to_hold_pixels(mode):
    """What was transparent still is."""
    form = "JPEG" if mode == "CMYK" else "PNG"
    made = opened(shrunk(encoded(picture().convert(mode), form), SIDE_PX, MANY))
    clear = opened(shrunk(encoded(Image.new("RGBA", (900, 900))), SIDE_PX, MANY))

    assert made.size == (512, 384)
    assert clear.convert("RGBA").getpixel((5, 5))[3] == 0


def test_it_stands_upright_and_says_nothing_of_the_camera():
    """As browsers turn the picture itself; where it was taken stays with it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "SECRET CAMERA"
    data = encoded(picture(), "JPEG", exif=exif)

    made = shrunk(data, SIDE_PX, MANY)

    assert opened(made).size == (384, 512)
    assert b"SECRET" in data
    assert b"SECRET" not in made


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded(picture(), "GIF"),
        encoded(picture(), "TIFF"),
        encoded(picture())[:500],
        encoded(Image.new("I;16", (900, 900))),
        encoded(picture(), "WEBP", save_all=True, append_images=[picture(colour=(0, 9, 0))]),
    ],
    ids=["nothing", "svg", "gif", "tiff", "half", "16 bit", "animated"],
)
def test_what_is_no_plain_picture_is_not_made_small(data):
    """Only PNG, JPEG and WebP are ever given to a decoder."""
    with pytest.raises((ValueError, OSError)):
        shrunk(data, SIDE_PX, MANY)


def test_more_pixels_than_allowed_are_not_decoded():
    """By the size that the header declares."""
    with pytest.raises(ValueError, match="too many pixels"):
        shrunk(encoded(picture()), SIDE_PX, 1600 * 1200 - 1)


# --- in a process of its own


async def test_it_is_made_in_a_process_of_its_own():
    """The same bytes as here."""
    data = encoded(picture())

    assert await thumbnails.shrunk(data) == shrunk(data, SIDE_PX, MANY)
    assert await thumbnails.shrunk(b"no picture") == b""


async def test_one_that_takes_for_ever_is_ended(monkeypatch, tmp_path):
    """And so is one whose asker has gone: no process stays behind."""
    pid = tmp_path / "pid"
    text = f"#!{sys.executable}\nimport os, signal\nopen({str(pid)!r} + '.new', 'w').write(str(os.getpid()))\n"
    text += f"os.rename({str(pid)!r} + '.new', {str(pid)!r})\nsignal.pause()\n"
    stuck = tmp_path / "python"
    stuck.write_text(text)
    stuck.chmod(0o700)
    monkeypatch.setattr(thumbnails.sys, "executable", str(stuck))
    asking = asyncio.create_task(thumbnails.shrunk(b"data"))
    while not pid.exists():  # noqa: ASYNC110 - the other side is a process
        await asyncio.sleep(0.01)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert not process_exists(int(pid.read_text()))
    monkeypatch.setattr(thumbnails, "_PATIENCE_S", 0.05)
    with pytest.raises(TimeoutError):
        await thumbnails.shrunk(b"data")


def process_exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").split()[2] != "Z"
    except FileNotFoundError:
        return False


# --- kept


class World:
    """Pictures in a folder, thumbnails beside, and a clock; what is made is the picture's length and a mark."""

    def __init__(self, root):
        self.assets = in_folder(root / "images")
        self.folder = root / "thumbnails"
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.made = []
        self.most_bytes = 10_000
        self.thumbnails = self.opened()
        self.at_work = self.most_at_work = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.began = asyncio.Event()
        self.failure = None

    def opened(self) -> Thumbnails:
        return Thumbnails(self.assets, self.folder, lambda: self.time, self.shrink, self.most_bytes)

    async def shrink(self, data):
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        self.began.set()
        await self.go_on.wait()
        self.at_work -= 1
        if self.failure:
            raise self.failure
        self.made.append(data)
        return b"small" + data[-100:]

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def put(world, number=0, **size):
    return await world.assets.put(encoded(picture(colour=(number, 0, 0), **size)))


async def test_it_is_made_once_and_outlives_the_process(world):
    """However many ask at once."""
    sha256 = await put(world)

    answers = await asyncio.gather(*[world.thumbnails.of(sha256) for _ in range(5)])

    assert len(set(answers)) == 1
    assert answers[0].startswith(b"small")
    assert await world.opened().of(sha256) == answers[0]
    assert len(world.made) == 1
    assert world.files() == [sha256]
    assert (world.folder / sha256).stat().st_mode & 0o777 == 0o600


async def test_one_is_made_at_a_time(world):
    """The calls need the processors."""
    shas = [await put(world, number) for number in range(4)]

    await asyncio.gather(*map(world.thumbnails.of, shas))

    assert (world.most_at_work, len(world.made)) == (1, 4)


async def test_what_must_not_be_decoded_is_not_even_given(world):
    """A bomb by its declared size, and what is no picture; that is remembered, and costs nothing again."""
    bomb = await world.assets.put(png_of(20_000, 20_000))
    text = await world.assets.put(b"not a picture")

    assert [await world.thumbnails.of(each) for each in (bomb, text, bomb)] == [None] * 3
    assert world.made == []
    assert [(world.folder / each).stat().st_size for each in (bomb, text)] == [0, 0]


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares so many pixels, and brings none of them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("failure", [TimeoutError(), OSError("no process")])
async def test_what_cannot_be_made_now_is_tried_again(world, failure):
    """Meanwhile the picture itself is shown."""
    sha256 = await put(world)
    world.failure = failure
    assert await world.thumbnails.of(sha256) is None
    world.failure = None

    assert await world.thumbnails.of(sha256)


async def test_it_goes_with_its_picture(world):
    """Both files."""
    sha256 = await put(world)
    await world.thumbnails.of(sha256)

    await world.thumbnails.delete(sha256)

    assert world.files() == []
    assert await world.thumbnails.of(sha256) is None
    assert [*(world.folder.parent / "images").glob("*/*")] == []


async def test_one_that_is_being_made_goes_too(world):
    """Whose picture is deleted meanwhile: it is neither kept nor handed out."""
    sha256 = await put(world)
    world.go_on.clear()
    asking = asyncio.create_task(world.thumbnails.of(sha256))
    await world.began.wait()
    await world.thumbnails.delete(sha256)
    world.go_on.set()

    assert await asking is None
    assert world.files() == []


async def test_the_oldest_go_first(world):
    """When there are more than there is room for; the newest is kept whatever its size."""
    world.most_bytes = 250
    thumbs = world.opened()
    shas = [await put(world, number) for number in range(4)]
    for each in shas:
        world.time += timedelta(seconds=1)
        await thumbs.of(each)

    assert world.files() == sorted(shas[-2:])
    assert await world.opened().of(shas[-1])
    assert len(world.made) == 4


async def test_none_is_kept_longer_than_a_day(world):
    """What was deleted elsewhere must not lie here: by each look, and by a start."""
    first, second = await put(world, 1), await put(world, 2)
    await world.thumbnails.of(first)
    world.time += timedelta(seconds=KEEP_S / 2)
    await world.thumbnails.of(second)
    world.time += timedelta(seconds=KEEP_S / 2)

    world.thumbnails.tidy()

    assert world.files() == [second]
    world.time += timedelta(seconds=KEEP_S / 2)
    world.opened()
    assert world.files() == []


async def test_half_a_file_is_none(world):
    """What a killed process left is swept; a file that somebody took away is made again."""
    sha256 = await put(world)
    await world.thumbnails.of(sha256)
    (world.folder / sha256).unlink()
    (world.folder / f"{sha256}.new").write_bytes(b"half")

    assert (await world.opened().of(sha256)).startswith(b"small")
    assert await world.thumbnails.of(sha256)
    assert world.files() == [sha256]
