"""What the catalog knows of one model; read from `models.toml`, so every field is documented there by its value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PlainValidator

from pictord.catalog.overlay import STRICT
from pictord.catalog.sizes import Sizes
from pictord.domain.money import parse_usd
from pictord.domain.request import Operation, OutputFormat, Quality, Resolution

Day = date
"""A date as a type, where a field is called `date`."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


def _nanos(value: object) -> int:
    """Nano-USD for a million tokens; TOML's floats are written back as they were typed."""
    nanos = parse_usd(str(value)) if isinstance(value, int | float | str | Decimal) else -1
    if nanos < 0 or isinstance(value, bool):
        raise ValueError("not a price in USD for one million tokens")
    return nanos


NanosPerMillion = Annotated[int, PlainValidator(_nanos)]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the model can do, whoever serves it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    operations: frozenset[Operation]
    native_mask: bool
    max_input_images: Count
    transparent_background: bool
    seed: bool
    max_previews: Count
    qualities: tuple[Quality, ...]
    prompt_limit_chars: Annotated[int, Field(gt=0)]
    input_types: frozenset[str]
    source: str
    date: date


@dataclass(frozen=True, slots=True)
class Backend:
    """What differs by the API that serves the model; sizes are bytes of the pictures themselves.

    The first of `output_formats` is what comes if nothing is asked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    output_formats: Annotated[tuple[OutputFormat, ...], Field(min_length=1)]
    compressed_formats: frozenset[OutputFormat]
    input_max_bytes: Count
    input_total_max_bytes: Count
    mask_max_bytes: Count
    source: str
    date: date


@dataclass(frozen=True, slots=True)
class Allowance:
    """Tokens that cannot be known before the call: what is likely, and what is held."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    expected: Count
    worst: Count

    def __post_init__(self) -> None:
        if self.expected > self.worst:
            raise ValueError("expected is more than worst")


@dataclass(frozen=True, slots=True)
class PatchTokens:
    """Output tokens by quality and pixels, OpenAI's formula: see `pricing.image_out_tokens`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["patches"]
    factors: Mapping[Quality, Annotated[int, Field(gt=0)]]
    offset: Count
    divisor: Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class ResolutionTokens:
    """Output tokens by size class alone."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["by_resolution"]
    tokens: Mapping[Resolution, Count]


@dataclass(frozen=True, slots=True)
class Tokens:
    """How to count a call's tokens before it is made; `mask_prompt` is for a mask that goes as a picture."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    prompt_overhead: Count
    mask_prompt: Count
    image_in: Allowance
    image_out: Annotated[PatchTokens | ResolutionTokens, Field(discriminator="kind")]
    preview_out: Count
    thinking: str
    thinking_out: Mapping[str, Allowance]
    source: str
    date: date

    def __post_init__(self) -> None:
        if self.thinking not in self.thinking_out:
            raise ValueError(f"thinking_out has no {self.thinking!r}")


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-USD for one million tokens of each kind."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    text_in: NanosPerMillion
    image_in: NanosPerMillion
    text_out: NanosPerMillion
    image_out: NanosPerMillion
    source: str
    date: date


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one call: half and nine tenths of the calls are done, the breaker calls it slow, the job gives up."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    p50_s: Seconds
    p90_s: Seconds
    slow_s: Seconds
    timeout_s: Seconds

    def __post_init__(self) -> None:
        if not self.p50_s <= self.p90_s <= self.slow_s <= self.timeout_s:
            raise ValueError("p50_s <= p90_s <= slow_s <= timeout_s must hold")

    def scaled(self, time_scale: float) -> "Times":
        """The same call in a world that runs faster; patience stays above what a busy machine needs to draw."""
        slow_s, timeout_s = (max(s * time_scale, min(s, _LEAST_PATIENCE_S)) for s in (self.slow_s, self.timeout_s))
        return Times(self.p50_s * time_scale, self.p90_s * time_scale, slow_s, timeout_s)


_LEAST_PATIENCE_S = 20.0
"""Simulated engines draw with this machine's own processor: a 4K picture takes real seconds, several at once more."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Times by quality (`any` for engines without), then by resolution."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    source: str
    date: date
    seconds: Mapping[Quality | Literal["any"], Mapping[Resolution, Times]]

    def scaled(self, time_scale: float) -> "Latency":
        """All times multiplied."""
        seconds = {q: {r: t.scaled(time_scale) for r, t in row.items()} for q, row in self.seconds.items()}
        return replace(self, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Model:
    """One model: `id` is its key in the catalog, `snapshot` is what is sent to the provider."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    id: str
    title: str
    provider: str
    snapshot: str
    aliases: tuple[str, ...]
    successors: tuple[str, ...]
    source: str
    date: date
    can: Capabilities
    backends: Annotated[Mapping[str, Backend], Field(min_length=1)]
    sizes: Sizes
    tokens: Tokens
    prices: Annotated[Mapping[Day, Price], Field(min_length=1)]
    latency: Latency
    price: Price = field(init=False)
    """The price in force: the newest, until `at` picks another."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "price", self.prices[max(self.prices)])
        self._check_latency()
        self._check_tokens()

    def _check_latency(self) -> None:
        qualities: tuple[Quality | Literal["any"], ...] = self.can.qualities or ("any",)
        for quality in qualities:
            missing = set(self.sizes.resolutions) - set(self.latency.seconds.get(quality, {}))
            if missing:
                raise ValueError(f"latency.seconds.{quality} lacks {', '.join(sorted(missing))}")

    def _check_tokens(self) -> None:
        counted = self.tokens.image_out
        if isinstance(counted, PatchTokens):
            missing = {q.value for q in set(self.can.qualities) - set(counted.factors)}
            if not self.can.qualities:
                raise ValueError("tokens.image_out counts by quality, and the model has none")
        else:
            missing = {r.value for r in set(self.sizes.resolutions) - set(counted.tokens)}
        if missing:
            raise ValueError(f"tokens.image_out lacks {', '.join(sorted(missing))}")

    @property
    def names(self) -> tuple[str, ...]:
        """Everything a request may call it."""
        return tuple(dict.fromkeys((self.id, self.snapshot, *self.aliases)))

    def price_at(self, day: Day) -> Price:
        """The price in force on a day; before the first known price, that one (unknown is never zero)."""
        begun = [start for start in self.prices if start <= day]
        return self.prices[max(begun) if begun else min(self.prices)]

    def at(self, day: Day) -> "Model":
        """The same model with the price in force on a day."""
        price = self.price_at(day)
        return self if price is self.price else _priced(replace(self), price)

    def scaled(self, time_scale: float) -> "Model":
        """The same model with all its times multiplied."""
        return _priced(replace(self, latency=self.latency.scaled(time_scale)), self.price)

    def times(self, quality: Quality | None, resolution: Resolution) -> Times:
        """How long a call takes."""
        return self.latency.seconds[quality or "any"][resolution]

    def backend(self, name: str) -> Backend:
        """What the API that serves us can do; a model that knows only one API has no choice."""
        return self.backends.get(name) or next(iter(self.backends.values()))


def _priced(model: Model, price: Price) -> Model:
    object.__setattr__(model, "price", price)  # a fresh copy, not yet seen by anyone
    return model
