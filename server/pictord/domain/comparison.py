"""Generations side by side: every fact of each one as text, by its path, and whether they differ in it.

Paths follow the contract's Generation; what is no single field there (`images.size_px`, `timings.total_s`) says its
unit. What differs by nature (ids, times of day, the request id) is no fact.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pictord.domain.generation import Generation
from pictord.domain.money import NANOS_PER_USD
from pictord.domain.plan import Adaptation, Candidate
from pictord.domain.request import GenerationRequest

Facts = dict[str, str]


@dataclass(frozen=True, slots=True)
class ComparedField:
    """One fact of every generation, in their order; empty where a generation has none."""

    path: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the generations are not all alike in it."""
        return len(set(self.values)) > 1


def compare(generations: Sequence[Generation]) -> tuple[ComparedField, ...]:
    """Line up the facts of generations; those that nobody has are left out."""
    facts = [_facts(generation) for generation in generations]
    lined_up = (
        ComparedField(path, tuple(each.get(path, "") for each in facts))
        for path in dict.fromkeys(path for each in facts for path in each)
    )
    return tuple(field for field in lined_up if any(field.values))


def _facts(generation: Generation) -> Facts:
    return {
        "state": generation.state.value,
        "reason": generation.reason.value if generation.reason else "",
        **_images(generation),
        **_decision(generation),
        **_request(generation.request),
        "lineage.reroll_of": generation.request.lineage.reroll_of or "",
        "lineage.item_key": generation.request.lineage.item_key or "",
        "adaptations": _listed(_adaptation(each) for each in generation.adaptations),
        "attempts": _listed(f"{each.model} {each.outcome or each.state}" for each in generation.attempts),
        "cost.amount_usd": _usd(generation.cost.nanos),
        "cost.basis": generation.cost.basis.value,
        **_timings(generation),
        **{f"labels.{key}": value for key, value in sorted(generation.request.labels.items())},
    }


def _images(generation: Generation) -> Facts:
    """Who drew, and what: each different answer once."""
    images = generation.images
    return {
        "images.model": _distinct(each.model for each in images),
        "images.served_model": _distinct(each.served_model for each in images),
        "images.model_version": _distinct(each.served_version for each in images),
        "images.count": str(len(images)),
        "images.size_px": _distinct(f"{each.width_px}x{each.height_px}" for each in images),
        "images.size_bytes": _listed(str(each.size_bytes) for each in images),
        "images.mime_type": _distinct(each.mime for each in images),
        "images.has_c2pa": _distinct(_yes(is_true=each.has_c2pa) for each in images),
    }


def _decision(generation: Generation) -> Facts:
    plan = generation.plan
    return {
        "decision.row": plan.row,
        "decision.candidates": _listed(_candidate(each) for each in plan.candidates),
        "decision.fidelity": plan.fidelity.value,
        "decision.policy_version": plan.policy_version,
        "decision.catalog_version": plan.catalog_version,
    }


def _request(request: GenerationRequest) -> Facts:
    """What was asked, without the bytes of pictures and without the end user."""
    facts = {
        "prompt": request.prompt,
        "operation": request.operation,
        "canvas.ratio": request.canvas.ratio,
        "canvas.format": request.canvas.format,
        "canvas.resolution": request.canvas.resolution,
        "tier": request.tier,
        "high_quality": _yes(is_true=request.high_quality),
        "workflow": request.workflow,
        "count": request.count,
        "model": request.model,
        "excluded_models": _listed(request.excluded_models),
        "quality": request.quality,
        "output_format": request.output_format,
        "output_compression": request.output_compression,
        "background": request.background,
        "seed": request.seed,
        "preview_count": request.preview_count or None,
        "allow_fallback": None if request.allow_fallback is None else _yes(is_true=request.allow_fallback),
        "max_cost_usd": None if request.max_cost_nanos is None else _usd(request.max_cost_nanos),
        "image_sha256": request.image.sha256 if request.image else None,
        "mask_sha256": request.mask.sha256 if request.mask else None,
        "reference_sha256s": _listed(each.sha256 for each in request.references),
    }
    return {f"request.{name}": "" if value is None else str(value) for name, value in facts.items()}


def _timings(generation: Generation) -> Facts:
    """Where the time went, in seconds; nothing while it goes on."""
    if generation.finish_time is None:
        return {}
    spans = {
        "total_s": (generation.finish_time - generation.create_time).total_seconds(),
        "queue_s": generation.timings.queue_s,
        "provider_s": generation.timings.provider_s,
        "store_s": generation.timings.store_s,
        "overhead_s": generation.timings.overhead_s,
    }
    return {f"timings.{name}": f"{span_s:.3f}" for name, span_s in spans.items()}


def _candidate(candidate: Candidate) -> str:
    return f"{candidate.model} {candidate.quality}" if candidate.quality else candidate.model


def _adaptation(adaptation: Adaptation) -> str:
    return f"{adaptation.kind} ({adaptation.asked} → {adaptation.delivered})"


def _usd(nanos: int) -> str:
    """US dollars, exactly, as short as that goes."""
    return f"{(Decimal(nanos) / NANOS_PER_USD).normalize():f}"


def _yes(*, is_true: bool) -> str:
    return "true" if is_true else "false"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _distinct(texts: Iterable[str]) -> str:
    return _listed(dict.fromkeys(text for text in texts if text))
