"""A routing decision: who was chosen, who else was considered, and why not."""

from dataclasses import dataclass
from enum import StrEnum

from pictord.domain.request import Fidelity, OutputFormat, Quality, Ratio, Resolution


class Row(StrEnum):
    """The shipped rows of the decision table, in the order they are tried; operators may add rows of their own."""

    EXPLICIT = "explicit"
    EDIT = "edit"
    FOUR_K = "four_k"
    PRO = "pro"
    TEXT_IN_IMAGE = "text_in_image"
    STANDARD = "standard"


class AdaptationKind(StrEnum):
    """The closed list of ways in which a delivery may differ from what was asked."""

    RATIO_SNAPPED = "ratio_snapped"
    RESOLUTION_REDUCED = "resolution_reduced"
    SIZE_CHANGED = "size_changed"
    QUALITY_REDUCED = "quality_reduced"
    MODEL_SUBSTITUTED = "model_substituted"
    MASK_AS_PROMPT = "mask_as_prompt"
    FORMAT_CHANGED = "format_changed"
    BACKGROUND_OPAQUE = "background_opaque"
    SEED_IGNORED = "seed_ignored"
    NOT_STORED = "not_stored"


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One difference between what was asked and what is delivered."""

    kind: AdaptationKind
    asked: str
    delivered: str


class ExclusionReason(StrEnum):
    """Why a model is not a candidate; in the order in which the checks are made."""

    CALLER_EXCLUDED = "caller_excluded"
    NOT_IN_ROW = "not_in_row"
    FALLBACK_NOT_ALLOWED = "fallback_not_allowed"
    # unable: the engine cannot do it, adapted or not
    OPERATION_UNSUPPORTED = "operation_unsupported"
    RATIO_UNSUPPORTED = "ratio_unsupported"
    RESOLUTION_UNSUPPORTED = "resolution_unsupported"
    TOO_MANY_REFERENCES = "too_many_references"
    PROMPT_TOO_LONG = "prompt_too_long"
    QUALITY_UNSUPPORTED = "quality_unsupported"
    INPUT_UNSUPPORTED = "input_unsupported"
    # able, but only by an adaptation that the caller did not allow
    NEEDS_ADAPTATION = "needs_adaptation"
    NOT_CONFIGURED = "not_configured"
    # allowed
    MODEL_NOT_ALLOWED = "model_not_allowed"
    PRICE_CEILING = "price_ceiling"
    # available
    BUDGET_EXHAUSTED = "budget_exhausted"
    DISABLED = "disabled"
    KEY_REFUSED = "key_refused"
    UNFUNDED = "unfunded"
    MODEL_TRIPPED = "model_tripped"
    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A budget that has too little left: its id and scope, what is needed at worst and what there is, for people."""

    budget: str
    scope: str
    needed: str
    available: str
    text: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A model that was considered and left out, with a sentence for people.

    What would help, where something would: `adaptations` that the caller would have to allow, the resolution that
    `keeps_pixels` of a masked picture, `worst_case_nanos` for all pictures that it would have to afford (for one, and
    by an operator's leave, if `is_callers_ceiling`), `needs_s` seconds of deadline, `retry_after_s` seconds of waiting,
    or more of the budget that has `no_room`.
    """

    model: str
    reason: ExclusionReason
    text: str
    adaptations: tuple[Adaptation, ...] = ()
    keeps_pixels: Resolution | None = None
    worst_case_nanos: int | None = None
    is_callers_ceiling: bool = False
    needs_s: float | None = None
    retry_after_s: float | None = None
    no_room: NoRoom | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve the request: everything that is decided before the call.

    `size_px` is what is expected to come back. Costs are nano-USD for one picture, worst case and expected;
    `expected_p50_s`, `expected_p90_s` and `timeout_s` are seconds from the catalog. `previews` is how many
    unfinished pictures this engine will show at most.
    """

    model: str
    provider: str
    snapshot: str
    quality: Quality | None
    ratio: Ratio
    resolution: Resolution
    size_px: tuple[int, int]
    output_format: OutputFormat
    previews: int
    adaptations: tuple[Adaptation, ...]
    worst_case_nanos: int
    expected_nanos: int
    expected_p50_s: float
    expected_p90_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered candidates and the reasons; made by `routing.router.plan`, recorded with the generation.

    `row` is a `Row`, or the name of an operator's own.
    """

    row: str
    candidates: tuple[Candidate, ...]
    exclusions: tuple[Exclusion, ...]
    fidelity: Fidelity
    policy_version: str
    catalog_version: str
