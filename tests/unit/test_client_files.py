"""Files of the client: whole or not at all, and shown by the viewer of the machine."""

import os
import stat
import sys

import pytest

from pictor import picture_file
from pictor.cli.viewer import open_picture
from pictor.generation import Picture
from pictor.picture_file import whole_file
from pictor.v1.image_pb2 import Image


def test_a_file_is_there_when_all_of_it_is(tmp_path):
    """Until then its name stands for what was before, and there is one file beside it."""
    target = tmp_path / "fox.png"
    target.write_bytes(b"old")

    with whole_file(target) as file:
        file.write(b"new")
        file.flush()
        meanwhile = target.read_bytes()
        beside = len(list(tmp_path.iterdir()))

    assert (meanwhile, beside) == (b"old", 2)
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_what_goes_wrong_leaves_what_was_there(tmp_path):
    """An error on the way: the old file stays, and no half of the new one."""
    target = tmp_path / "fox.png"
    target.write_bytes(b"old")

    def half(data):
        with whole_file(target) as file:
            file.write(data[:2])
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        half(b"new")

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    """The name that was given, not the one that it has meanwhile."""
    target = tmp_path / "nowhere" / "fox.png"

    with pytest.raises(OSError, match="No such file") as caught, whole_file(target):
        pass

    assert caught.value.filename == str(target)


def test_links_and_devices_stay_what_they_are(tmp_path):
    """A link's target is written; a device is not replaced by a file."""
    real, link, pipe = tmp_path / "real.png", tmp_path / "link.png", tmp_path / "pipe"
    link.symlink_to(real)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    for target in (link, pipe):
        with whole_file(target) as file:
            file.write(b"new")

    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.read(reader, 10) == b"new"
    os.close(reader)


def test_a_new_file_has_the_rights_that_any_file_has(tmp_path):
    """The process's own umask decides, as for a plain write."""
    (tmp_path / "plain").write_bytes(b"")

    Picture(Image(id="img_1"), b"fox").save(tmp_path / "fox.png")

    assert (tmp_path / "fox.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(("name", "file"), [("fox", "fox.jpg"), ("fox.bin", "fox.bin"), ("v1.2", "v1.2")])
def test_a_name_without_an_ending_gets_the_right_one(tmp_path, name, file):
    """Which encoding came is known only afterwards; an ending that was given stays."""
    saved = Picture(Image(mime_type="image/jpeg"), b"fox").save(tmp_path / name)

    assert (saved, saved.read_bytes()) == (tmp_path / file, b"fox")


def test_a_picture_is_read_whole_or_refused(tmp_path):
    """What is no file is said so, by its name."""
    with pytest.raises(OSError, match="is no file that can be read: a folder"):
        picture_file.read(tmp_path)


@pytest.mark.parametrize(
    ("platform", "environment", "program"),
    [
        ("linux", {"DISPLAY": ":0"}, "xdg-open"),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open"),
        ("darwin", {}, "open"),
        ("win32", {}, "explorer"),
    ],
)
def test_each_platform_has_its_viewer(tmp_path, platform, environment, program):
    """It gets the whole path of the picture, and nothing else."""
    viewer = tmp_path / "xdg-open"
    viewer.touch(0o755)
    started = []

    why_not = open_picture(
        tmp_path / "a fox.png",
        platform=platform,
        environment={**environment, "PATH": str(tmp_path)},
        start=started.append,
    )

    assert why_not is None
    assert [(each[0].rpartition("/")[2], each[-1]) for each in started] == [(program, str(tmp_path / "a fox.png"))]


@pytest.mark.parametrize(
    ("environment", "why"),
    [({"PATH": ""}, "there is no display here"), ({"PATH": "", "DISPLAY": ":0"}, "there is no xdg-open here")],
)
def test_nothing_is_started_where_nothing_can_be_seen(tmp_path, environment, why):
    """No display (a server, CI), or no viewer: said, and harmless."""
    why_not = open_picture(tmp_path / "fox.png", platform="linux", environment=environment, start=pytest.fail)

    assert why_not == why


def test_a_viewer_that_does_not_start_is_harmless(tmp_path):
    """Its error is the reason."""
    (tmp_path / "xdg-open").write_text("no program")
    (tmp_path / "xdg-open").chmod(0o755)

    why_not = open_picture(tmp_path / "fox.png", platform="linux", environment={"DISPLAY": ":0", "PATH": str(tmp_path)})

    assert why_not is not None
    assert sys.platform == "win32" or "Exec format error" in why_not
