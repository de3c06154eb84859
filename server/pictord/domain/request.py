"""What a caller asks for, after conversion from the contract and before routing."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import Self


class Operation(StrEnum):
    """Draw anew, or change a given picture."""

    GENERATE = "generate"
    EDIT = "edit"


class Tier(StrEnum):
    """The end user's plan at the caller's product."""

    FREE = "free"
    STANDARD = "standard"
    PRO = "pro"


class Workflow(StrEnum):
    """What the picture is for; some rows and defaults depend on it."""

    ON_IMAGE_TEXT = "on_image_text"
    QUOTE_GRAPHIC = "quote_graphic"
    MULTILINGUAL_LABEL = "multilingual_label"
    CAROUSEL = "carousel"
    PLATFORM_VARIANT = "platform_variant"
    MULTI_SUBJECT = "multi_subject"
    AD = "ad"
    LANDING_PAGE = "landing_page"
    HERO = "hero"


class Resolution(StrEnum):
    """Size class; the pixels depend on ratio and engine."""

    R512 = "512"
    R1K = "1k"
    R2K = "2k"
    R4K = "4k"


class Quality(StrEnum):
    """Rendering effort of engines that have such a choice."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class OutputFormat(StrEnum):
    """Encoding of the delivered picture."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def mime(self) -> str:
        """The IANA media type."""
        return f"image/{self.value}"


class Background(StrEnum):
    """Whether the picture has an alpha channel."""

    OPAQUE = "opaque"
    TRANSPARENT = "transparent"


class Fidelity(StrEnum):
    """Whether an engine that must change the request may serve it."""

    ADAPT = "adapt"
    EXACT = "exact"


class OnDisconnect(StrEnum):
    """What happens to work when the submitting client goes away."""

    FINISH_IF_SENT = "finish_if_sent"
    """Unsent work is released; sent work finishes and is stored."""
    FINISH = "finish"
    """Queued work runs too: submit and leave."""


_RATIO = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?):([0-9]{1,5}(?:\.[0-9]{1,3})?)")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Width to height, e.g. `16:9` or `1.91:1`; equal by value, written as it was asked."""

    value: Fraction
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> "Ratio":
        """Read `W:H`.

        Raises:
            ValueError: not two positive numbers with a colon.
        """
        match = _RATIO.fullmatch(text)
        if match is None or not Fraction(match[1]) or not Fraction(match[2]):
            raise ValueError(f"not a ratio: {text!r}")
        return cls(Fraction(match[1]) / Fraction(match[2]), text)

    def __str__(self) -> str:
        return self.text


SQUARE = Ratio(Fraction(1), "1:1")


@dataclass(frozen=True, slots=True)
class Canvas:
    """The asked shape: a ratio or a named format (never both), and a size class."""

    ratio: Ratio | None = None
    format: str | None = None
    resolution: Resolution | None = None


class Unread(bytes):
    """Bytes of a picture that nobody kept, or need read for a plan: only their number is known, which engines limit."""

    size: int

    def __new__(cls, size: int) -> Self:
        """Stand in for so many bytes."""
        self = super().__new__(cls)
        self.size = size
        return self

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class InputImage:
    """A caller's picture, sniffed but never decoded; `sha256` is hexadecimal. In records `data` is empty."""

    data: bytes = field(repr=False)
    mime: str
    width_px: int
    height_px: int
    has_alpha: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a generation comes from."""

    reroll_of: str | None = None
    set_id: str | None = None
    item_key: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request as the router and the job see it: the caller's defaults are filled in, nothing is routed yet.

    `max_cost_nanos` is nano-USD. None means "not said" wherever the contract has an optional field.
    """

    prompt: str = field(repr=False)
    operation: Operation = Operation.GENERATE
    canvas: Canvas = field(default_factory=Canvas)
    tier: Tier = Tier.STANDARD
    high_quality: bool = False
    workflow: Workflow | None = None
    image: InputImage | None = None
    mask: InputImage | None = None
    references: tuple[InputImage, ...] = ()
    count: int = 1
    quality: Quality | None = None
    preview_count: int | None = None
    output_format: OutputFormat | None = None
    output_compression: int | None = None
    background: Background | None = None
    seed: int | None = None
    fidelity: Fidelity | None = None
    model: str | None = None
    excluded_models: tuple[str, ...] = ()
    allow_fallback: bool | None = None
    max_cost_nanos: int | None = None
    request_id: str | None = None
    end_user: str | None = field(default=None, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    max_inline_bytes: int | None = None
    on_disconnect: OnDisconnect = OnDisconnect.FINISH_IF_SENT
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def input_images(self) -> tuple[InputImage, ...]:
        """The picture to edit, then the references; not the mask."""
        return ((self.image,) if self.image else ()) + self.references

    @property
    def all_pictures(self) -> tuple[InputImage, ...]:
        """Every picture that came with the request, the mask too."""
        return self.input_images + ((self.mask,) if self.mask else ())

    def with_pictures(self, bytes_of: Callable[[InputImage], bytes]) -> "GenerationRequest":
        """The same request with other bytes in its pictures: none for a record, the stored ones for a re-roll."""
        if not self.all_pictures:
            return self

        def swap(picture: InputImage | None) -> InputImage | None:
            return None if picture is None else replace(picture, data=bytes_of(picture))

        references = tuple(replace(each, data=bytes_of(each)) for each in self.references)
        return replace(self, image=swap(self.image), mask=swap(self.mask), references=references)
