"""Failures on demand: which call fails, and how.

A fault is asked for in three ways, and the first that gives any wins for a call:

1. headers of the call itself: `x-sandbox-fault: openai:rate_limit;retry_after=7, gemini:internal` (the prefix limits
   it to one provider) and `x-sandbox-latency-ms: 20` (also with a prefix; not scaled);
2. rules by `POST /sandbox/faults` or `sandbox.faults.add(...)`, the oldest matching one first: a number of `times` or
   until cleared, for a model, operation or part of a prompt, with a probability drawn from (seed, prompt, occurrence);
3. the same rules with `from_s` and `until_s`: a script, in seconds since it was started.

Kinds for both providers (`billed` is the default; every kind takes `billed=true|false`; error answers also take
`after_ms`, real milliseconds to wait before them):

| kind | what the client sees | billed |
|---|---|---|
| refuse | TCP reset at once, before anything was made | no |
| reset_before_response | TCP reset after the picture was made, before any byte | yes |
| reset_mid_body | half of the body, then TCP reset (streams: after `after` whole events, default 0) | yes |
| stall | nothing until the client goes or stalls are released, then the answer | yes |
| stall_mid_body | half of the body, then the same wait, then the rest | yes |
| truncated_json | HTTP 200, body cut in half but correctly framed | yes |
| truncated_image | a picture that ends in the middle | yes |
| wrong_image_type | text where the picture should be | yes |
| bad_base64 | characters that no base64 alphabet has | yes |
| missing_usage | a picture without usage | yes |
| html_in_200 | a proxy's page with HTTP 200 | no |
| error_in_200 | an error body with HTTP 200 (OpenAI: arg code; Gemini: arg status) | no |

Those of one provider alone stand in `openai_faults.py` and `gemini_faults.py`. Sources, read 2026-11-22:
help.openai.com/articles/5955604 (error codes), community.openai.com/t/1382726 (429, and errors within a 200),
openai 3.54.0 `_streaming.py`; google-genai 3.4.0 `types.py` (finish and block reasons) and `errors.py`,
docs.cloud.google.com/vertex-ai/generative-ai/docs/error-code-429.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pictord.sandbox import gemini_faults, openai_faults
from pictord.sandbox.chance import Chance
from pictord.sandbox.fault import Fault, FaultKind

SHARED: dict[str, FaultKind] = {
    "refuse": FaultKind(),
    "reset_before_response": FaultKind(billed=True),
    "reset_mid_body": FaultKind(billed=True),
    "stall": FaultKind(billed=True),
    "stall_mid_body": FaultKind(billed=True),
    "truncated_json": FaultKind(billed=True),
    "truncated_image": FaultKind(billed=True),
    "wrong_image_type": FaultKind(billed=True),
    "bad_base64": FaultKind(billed=True),
    "missing_usage": FaultKind(billed=True),
    "html_in_200": FaultKind(billed=False),
    "error_in_200": FaultKind(billed=False),
}
KINDS: dict[str, dict[str, FaultKind]] = {
    "openai": SHARED | openai_faults.KINDS,
    "gemini": SHARED | gemini_faults.KINDS,
}
MATCHABLE = {"model", "prompt_contains", "operation"}


class UnknownFault(ValueError):
    """A fault that no provider has, or a rule that makes no sense."""


@dataclass
class FaultRule:
    """A fault and the calls it hits."""

    id: str
    kind: str
    provider: str | None = None
    """None hits every provider that knows the kind."""
    args: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    """How many more calls it hits; None until cleared."""
    match: dict[str, str] = field(default_factory=dict)
    """`model` and `operation` must be equal, `prompt_contains` must be in the prompt."""
    probability: float = 1.0
    from_s: float | None = None
    until_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The rule as plain data."""
        return asdict(self)


class FaultBook:
    """The rules in force."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._made = 0
        self.rules: list[FaultRule] = []

    def add(
        self,
        kind: str,
        *,
        provider: str | None = None,
        args: Mapping[str, Any] | None = None,
        times: int | None = None,
        match: Mapping[str, str] | None = None,
        probability: float = 1.0,
        from_s: float | None = None,
        until_s: float | None = None,
    ) -> FaultRule:
        """Put a rule in force.

        Raises:
            UnknownFault: no such kind, provider or match.
        """
        _check(kind, provider, match or {})
        self._made += 1
        words = {name: _word(value) for name, value in (args or {}).items()}
        rule = FaultRule(
            f"fault-{self._made}", kind, provider, words, times, dict(match or {}), probability, from_s, until_s
        )
        self.rules.append(rule)
        return rule

    def start_script(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """Add all `faults` and let their `from_s` and `until_s` count from now."""
        self._started = self._clock()
        for fault in faults:
            self.add(**fault)

    def clear(self) -> None:
        """Take every rule out of force."""
        self.rules.clear()
        self._made = 0
        self._started = self._clock()

    def take(self, chance: Chance, *, model: str, operation: str) -> Fault | None:
        """The fault that hits this call, counted off its rule."""
        for rule in self.rules:
            if self._hits(rule, chance, model=model, operation=operation):
                if rule.times is not None:
                    rule.times -= 1
                return Fault(rule.kind, rule.args)
        return None

    def _hits(self, rule: FaultRule, chance: Chance, *, model: str, operation: str) -> bool:
        elapsed = self._clock() - self._started
        return (
            rule.times != 0
            and rule.provider in (None, chance.provider)
            and rule.kind in KINDS[chance.provider]
            and rule.match.get("model", model) == model
            and rule.match.get("operation", operation) == operation
            and rule.match.get("prompt_contains", "") in chance.prompt
            and (rule.from_s is None or elapsed >= rule.from_s)
            and (rule.until_s is None or elapsed < rule.until_s)
            and (rule.probability >= 1.0 or chance.dice(rule.id).random() < rule.probability)
        )


def from_headers(values: Iterable[str], provider: str) -> list[Fault]:
    """The faults that `x-sandbox-fault` headers ask of `provider`.

    Raises:
        UnknownFault: a kind that no provider has.
    """
    faults = []
    for item in _items(values):
        prefix, _, rest = item.partition(":")
        wanted, spec = (prefix, rest) if prefix in KINDS else (None, item)
        kind, *pairs = (word.strip() for word in spec.split(";"))
        _check(kind, wanted, {})
        if wanted in (None, provider) and kind in KINDS[provider]:
            args = dict(pair.partition("=")[::2] for pair in pairs)
            faults.append(Fault(kind, args))
    return faults


def check_header(name: str, value: str) -> None:
    """Look at one header of a call before it is sent.

    Raises:
        UnknownFault: no such header, fault or provider, or a latency that is no number.
    """
    if name not in HEADERS:
        raise UnknownFault(f"there is no such header: use {', '.join(HEADERS)}")
    for item in _items([value]):
        for provider in KINDS:
            HEADERS[name]([item], provider)


def latency_from_headers(values: Iterable[str], provider: str) -> float | None:
    """Seconds that `x-sandbox-latency-ms` headers ask of `provider`; None if they ask nothing.

    Raises:
        UnknownFault: not a number.
    """
    for item in _items(values):
        wanted, _, milliseconds = item.rpartition(":")
        if not milliseconds.isdecimal():
            raise UnknownFault(f"{item!r} is no latency: use whole milliseconds")
        if wanted not in ("", *KINDS):
            raise UnknownFault(f"no provider {wanted!r}: use one of {', '.join(KINDS)}")
        if wanted in ("", provider):
            return int(milliseconds) / 1000
    return None


HEADERS: Mapping[str, Callable[[list[str], str], object]] = {
    "x-sandbox-fault": from_headers,
    "x-sandbox-latency-ms": latency_from_headers,
}
"""The headers of a call and what reads them for a provider."""


def _items(values: Iterable[str]) -> list[str]:
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def _check(kind: str, provider: str | None, match: Mapping[str, str]) -> None:
    if provider is not None and provider not in KINDS:
        raise UnknownFault(f"no provider {provider!r}: use one of {', '.join(KINDS)}")
    known = KINDS[provider] if provider else KINDS["openai"] | KINDS["gemini"]
    if kind not in known:
        raise UnknownFault(f"no fault {kind!r}: use one of {', '.join(sorted(known))}")
    if odd := set(match) - MATCHABLE:
        raise UnknownFault(f"cannot match {', '.join(sorted(odd))}: use {', '.join(sorted(MATCHABLE))}")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
