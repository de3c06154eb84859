from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pictord.sandbox.tables import Model


@dataclass(frozen=True)
class Quota:
    """What one API key may send within any 60 seconds; None means no limit."""

    images_per_minute: int | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True)
class SandboxSettings:
    """How the two simulated providers behave; the defaults are an honest, quick, unlimited pair."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port."""
    seed: int = 0
    """Latency, faults with a probability, and token overheads are drawn from it."""
    time_scale: float = 1.0
    """Factor on every simulated wait; 0 answers as fast as the picture can be drawn."""
    fast: bool = False
    """Serve the benchmark's pre-made bodies only (see `fast.py`)."""
    fast_latency_ms: float = 0.0
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    """By provider, `openai` or `gemini`."""
    script: tuple[Mapping[str, Any], ...] = ()
    """Faults with `from_s` and `until_s`, in seconds since the start (see `faults.py`)."""
    transparent_background: bool = False
    """Whether gpt-image-2 accepts `background=transparent` (a preview that many accounts lack)."""
    output_token_details: bool = True
    """Whether OpenAI's usage carries `output_tokens_details` (reported both ways in 2026)."""
    signature_bytes: int = 0
    """Size of each Gemini thoughtSignature; recorded ones had 825,000 bytes."""
    models: tuple[Model, ...] = ()
    """Models beside those of `prices.toml`."""
    vary_repeats: bool = False
    """Draw a different picture each time the same prompt comes without a seed."""
