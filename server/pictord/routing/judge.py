"""The checks that one model passes, in their order, to become a candidate."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR

from pictord.catalog import pricing
from pictord.catalog.catalog import Catalog
from pictord.catalog.model import Model
from pictord.catalog.pricing import Draw
from pictord.domain.caller import CallerPolicy
from pictord.domain.money import format_usd
from pictord.domain.plan import AdaptationKind, Candidate, Exclusion, ExclusionReason
from pictord.domain.request import Fidelity, GenerationRequest
from pictord.routing.ability import Able, Unable, ability, keeping_resolution
from pictord.routing.availability import READY, Availability
from pictord.routing.policy import Policy
from pictord.routing.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Judge:
    """Everything a decision depends on, so that a model alone is the question."""

    request: GenerationRequest
    wanted: Wanted
    policy: Policy
    catalog: Catalog
    availability: Availability
    caller: CallerPolicy

    def judge(self, model: Model) -> Candidate | Exclusion:
        """Pass a model through all checks; the first that fails excludes it."""
        if excluded := self._caller_excluded(model):
            return excluded
        backend = model.backend(self.availability.backends.get(model.provider, ""))
        try:
            able = ability(self.request, self.wanted, model, backend, policy=self.policy, catalog=self.catalog)
        except Unable as unable:
            return Exclusion(model.id, unable.reason, unable.text)
        candidate = self._candidate(model, able)
        return (
            self._not_exact(model, candidate)
            or self._not_configured(candidate)
            or self._not_allowed(candidate)
            or self._too_dear(candidate)
            or self._no_room(candidate)
            or self._unavailable(candidate)
            or self._too_slow(candidate)
            or candidate
        )

    def not_a_fallback(self, model: Model, choice: str | None) -> Exclusion:
        """Exclude a model that could only step in for the choice."""
        text = f"{model.id} would step in for {choice}, and allow_fallback is false"
        return self._caller_excluded(model) or Exclusion(model.id, ExclusionReason.FALLBACK_NOT_ALLOWED, text)

    def not_in_row(self, model: Model, row: str) -> Exclusion:
        """Exclude a model that the row does not list."""
        text = f"row {row} does not list {model.id}; name it to use it"
        return self._caller_excluded(model) or Exclusion(model.id, ExclusionReason.NOT_IN_ROW, text)

    def _caller_excluded(self, model: Model) -> Exclusion | None:
        if model.id not in self.wanted.excluded:
            return None
        return Exclusion(model.id, ExclusionReason.CALLER_EXCLUDED, f"the request excludes {model.id}")

    def _candidate(self, model: Model, able: Able) -> Candidate:
        request = self.request
        previews = min(request.preview_count or 0, model.can.max_previews)
        draw = Draw(
            prompt_bytes=self.wanted.prompt_bytes,
            size_px=able.size_px,
            resolution=able.resolution,
            quality=able.quality,
            input_images=self.wanted.input_images,
            masked=request.mask is not None,
            previews=previews,
        )
        times = model.times(able.quality, able.resolution)
        estimate = pricing.estimate(model, draw)
        return Candidate(
            model=model.id,
            provider=model.provider,
            snapshot=model.snapshot,
            quality=able.quality,
            ratio=able.ratio,
            resolution=able.resolution,
            size_px=able.size_px,
            output_format=able.output_format,
            previews=previews,
            adaptations=able.adaptations,
            worst_case_nanos=estimate.worst_nanos,
            expected_nanos=estimate.expected_nanos,
            expected_p50_s=times.p50_s,
            expected_p90_s=times.p90_s,
            timeout_s=times.timeout_s,
        )

    def _not_exact(self, model: Model, candidate: Candidate) -> Exclusion | None:
        if self.wanted.fidelity is Fidelity.ADAPT or not candidate.adaptations:
            return None
        needs = "; ".join(f"{a.kind.name} ({a.asked} → {a.delivered})" for a in candidate.adaptations)
        text = f"{candidate.model} would need {needs}, and fidelity is EXACT"
        keeping = None
        if [each.kind for each in candidate.adaptations] == [AdaptationKind.SIZE_CHANGED]:
            keeping = keeping_resolution(self.wanted, model, self.catalog)
            text += f"; with resolution {keeping} it would keep the picture's own pixels" if keeping else ""
        reason = ExclusionReason.NEEDS_ADAPTATION
        return Exclusion(candidate.model, reason, text, adaptations=candidate.adaptations, keeps_pixels=keeping)

    def _not_configured(self, candidate: Candidate) -> Exclusion | None:
        if candidate.provider in self.availability.backends:
            return None
        text = f"{candidate.model} needs credentials for {candidate.provider}, and none are configured"
        return Exclusion(candidate.model, ExclusionReason.NOT_CONFIGURED, text)

    def _not_allowed(self, candidate: Candidate) -> Exclusion | None:
        if self.caller.models is None or candidate.model in self.caller.models:
            return None
        text = f"this caller may not use {candidate.model}"
        return Exclusion(candidate.model, ExclusionReason.MODEL_NOT_ALLOWED, text)

    def _too_dear(self, candidate: Candidate) -> Exclusion | None:
        model, each, count = candidate.model, candidate.worst_case_nanos, self.request.count
        ceiling, max_cost = self.caller.max_picture_nanos, self.request.max_cost_nanos
        if ceiling is not None and each > ceiling:
            limit = f"this caller may spend {format_usd(ceiling, rounding=ROUND_FLOOR)} on a picture"
            return _too_dear(model, each, "a picture", limit, is_callers=True)
        if max_cost is not None and each * count > max_cost:
            pictures = "a picture" if count == 1 else f"{count} pictures"
            limit = f"max_cost is {format_usd(max_cost, rounding=ROUND_FLOOR)}"
            return _too_dear(model, each * count, pictures, limit, is_callers=False)
        return None

    def _no_room(self, candidate: Candidate) -> Exclusion | None:
        full = self.availability.full.get(candidate.model)
        if full is None:
            return None
        reason, text = ExclusionReason.BUDGET_EXHAUSTED, f"{candidate.model}: {full.text}"
        return Exclusion(candidate.model, reason, text, no_room=full)

    def _unavailable(self, candidate: Candidate) -> Exclusion | None:
        engine = self.availability.engines.get(candidate.model, READY)
        if engine.obstacle is None:
            return None
        text = engine.text or f"{candidate.model}: {engine.obstacle}"
        return Exclusion(candidate.model, engine.obstacle, text, retry_after_s=engine.retry_after_s)

    def _too_slow(self, candidate: Candidate) -> Exclusion | None:
        remaining_s = self.availability.remaining_s
        if remaining_s is None:
            return None
        engine = self.availability.engines.get(candidate.model, READY)
        needs_s = engine.wait_s + candidate.expected_p50_s + self.policy.limits.deadline_margin_s
        if remaining_s >= needs_s:
            return None
        text = (
            f"{candidate.model} needs {_seconds(needs_s, math.ceil)}, has {_seconds(max(remaining_s, 0), math.floor)}"
        )
        return Exclusion(candidate.model, ExclusionReason.DEADLINE, text, needs_s=needs_s)


def _too_dear(model: str, nanos: int, pictures: str, limit: str, *, is_callers: bool) -> Exclusion:
    text = f"{model} may cost {format_usd(nanos, rounding=ROUND_CEILING)} for {pictures}, {limit}"
    reason = ExclusionReason.PRICE_CEILING
    return Exclusion(model, reason, text, worst_case_nanos=nanos, is_callers_ceiling=is_callers)


def _seconds(value: float, rounded: Callable[[float], int]) -> str:
    return f"{rounded(value)} s" if math.isfinite(value) else "longer than anybody waits"
