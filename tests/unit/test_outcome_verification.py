"""When bytes count as a finished picture."""

from dataclasses import dataclass

import pytest

from pictord.domain.outcome import Unusable
from pictord.providers.base import BadPicture, VerifiedPicture
from pictord.providers.verification import verifier


class NotThisOne(Exception):
    """What the test's inspection raises."""


@dataclass(frozen=True)
class Facts:
    """A picture that is fine unless a test says otherwise."""

    mime: str = "image/png"
    width_px: int = 20
    height_px: int = 10
    complete: bool = True
    frames: int = 1
    has_c2pa: bool = True


def judge(facts: Facts, data: bytes = b"12345678") -> VerifiedPicture:
    return verifier(lambda _: facts, NotThisOne, max_bytes=8, max_pixels=200)(data)


def test_a_complete_picture_is_believed() -> None:
    """Everything that is known comes from the bytes."""
    assert judge(Facts()) == VerifiedPicture("image/png", 20, 10, has_c2pa=True, over_cap=False)


@pytest.mark.parametrize(
    ("facts", "why"), [(Facts(complete=False), Unusable.TRUNCATED), (Facts(frames=2), Unusable.WRONG_TYPE)]
)
def test_half_a_picture_is_none(facts: Facts, why: Unusable) -> None:
    """A picture that breaks off, and an animation, are failures with a reason."""
    with pytest.raises(BadPicture) as caught:
        judge(facts)

    assert caught.value.why is why


def test_other_bytes_are_none() -> None:
    """What the inspection refuses is of a wrong type."""

    def refuse(_: bytes) -> Facts:
        raise NotThisOne("it is text")

    with pytest.raises(BadPicture, match="it is text") as caught:
        verifier(refuse, NotThisOne)(b"text")

    assert caught.value.why is Unusable.WRONG_TYPE


@pytest.mark.parametrize(("facts", "data"), [(Facts(), b"123456789"), (Facts(width_px=21), b"12345678")])
def test_a_picture_over_a_cap_is_kept_and_marked(facts: Facts, data: bytes) -> None:
    """It is paid for: it is stored, and somebody is told."""
    assert judge(facts, data).over_cap
