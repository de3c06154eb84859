"""How the decision is put into words for people."""

from collections.abc import Mapping

from pictord.domain.plan import AdaptationKind, Row

ROWS: Mapping[str, str] = {
    Row.EXPLICIT: "the request names its model",
    Row.EDIT: "a picture is changed",
    Row.FOUR_K: "4K is asked for",
    Row.PRO: "tier Pro, or high quality is asked for",
    Row.TEXT_IN_IMAGE: "the picture carries text",
    Row.STANDARD: "no row above it matched",
}

ADAPTATIONS: Mapping[AdaptationKind, str] = {
    AdaptationKind.RATIO_SNAPPED: "The ratio is moved to the nearest one that this engine draws",
    AdaptationKind.RESOLUTION_REDUCED: "Fewer pixels than asked for",
    AdaptationKind.SIZE_CHANGED: "Other pixels than the picture that is changed",
    AdaptationKind.QUALITY_REDUCED: "Not at the best quality",
    AdaptationKind.MODEL_SUBSTITUTED: "Another model than the one named",
    AdaptationKind.MASK_AS_PROMPT: "The mask goes as a picture with an instruction; it is not binding",
    AdaptationKind.FORMAT_CHANGED: "Another encoding",
    AdaptationKind.BACKGROUND_OPAQUE: "No transparent background",
    AdaptationKind.SEED_IGNORED: "The seed has no effect",
    AdaptationKind.NOT_STORED: "The picture is not stored yet; it is tried again until it is",
}


SPANS = ("queue", "engine", "store", "gateway")
"""Where the time of a generation goes, in the order of `Timings`."""


def why_row(row: str) -> str:
    """When a row matches; an operator's own row is explained by its name alone."""
    return ROWS.get(row, "a row of this gateway's own")
