"""The sandbox's own data files, read once: prices and tokens, sizes, latency."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

NANOS_PER_USD_PER_MILLION = 1_000  # 1 USD / 1,000,000 tokens = 1,000 nano-USD a token


@dataclass(frozen=True)
class Model:
    """One model the sandbox serves, with its prices in nano-USD per token by token kind.

    `tokens` are keys of `prices.toml`; `limits` are those keys of its provider's table in `sizes.toml` that differ.
    """

    id: str
    provider: str
    names: tuple[str, ...]
    nanos_per_token: Mapping[str, int]
    tokens: Mapping[str, Any]
    limits: Mapping[str, Any] = field(default_factory=dict)


@cache
def read(name: str) -> dict[str, Any]:
    """The content of one of the package's TOML files."""
    return tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))


@cache
def models(provider: str) -> dict[str, Model]:
    """Every model of `provider` by each name it answers to."""
    rows = [_model(row) for row in read("prices.toml")["model"] if row["provider"] == provider]
    return {name: model for model in rows for name in model.names}


def served(provider: str, more: Iterable[Model] = ()) -> dict[str, Model]:
    """The models of `provider` with `more` beside them; those are like the first one but for what they say.

    A shipped name keeps its own prices and tokens, whatever `more` says: they are what the service is checked against.
    """
    own = models(provider)
    usual = next(iter(own.values())).tokens
    added = [replace(model, tokens={**usual, **model.tokens}) for model in more if model.provider == provider]
    return {name: model for model in added for name in model.names} | own


def limits(model: Model) -> dict[str, Any]:
    """What the model can draw, and from what."""
    return {**read("sizes.toml")[model.provider], **model.limits}


def _model(row: dict[str, Any]) -> Model:
    prices = {kind: _nanos(usd) for kind, usd in row["usd_per_million"].items()}
    return Model(row["id"], row["provider"], (row["id"], *row["snapshots"]), prices, row["tokens"])


def _nanos(usd_per_million: str) -> int:
    whole, _, cents = usd_per_million.partition(".")
    return int(whole) * NANOS_PER_USD_PER_MILLION + int(cents.ljust(3, "0"))
