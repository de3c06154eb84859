# ruff: noqa: N802, ARG002 - RPCs are named by the contract, their signature is gRPC's
"""CatalogService: convert, call, convert."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import grpc

from pictor.v1 import catalog_service_pb2 as service
from pictor.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from pictord.auth.callers import require_operator
from pictord.catalog.catalog import Format
from pictord.catalog.model import Model, Price
from pictord.jobs import switches
from pictord.jobs.planning import Routing
from pictord.jobs.served import ProviderFacts
from pictord.resilience.guard import Guards
from pictord.resilience.status import BreakerStatus, ProviderStatus
from pictord.rpc import enums
from pictord.rpc.call import current_caller
from pictord.rpc.convert_in import Check, seconds
from pictord.rpc.convert_out import duration_message, money_message

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class CatalogRpcs(CatalogServiceServicer):
    """Says what there is, and switches providers."""

    def __init__(
        self,
        routing: Callable[[], Routing],
        guards: Guards,
        facts: Callable[[], Mapping[str, ProviderFacts]],
        now: Callable[[], datetime],
        *,
        sandbox: bool,
    ) -> None:
        """Answer from what is in force.

        Args:
            routing: the catalog in force.
            guards: every configured provider.
            facts: the configured providers, by name.
            now: UTC.
            sandbox: whether simulators stand in for the providers.
        """
        self._routing = routing
        self._guards = guards
        self._facts = facts
        self._now = now
        self._sandbox = sandbox

    async def ListModels(self, request: service.ListModelsRequest, context: Context) -> service.ListModelsResponse:
        """See the contract."""
        catalog, facts = self._routing().catalog, self._facts()
        models = [_model_message(each, facts.get(each.provider)) for each in catalog.models.values()]
        return service.ListModelsResponse(models=models, catalog_version=catalog.version)

    async def ListFormats(self, request: service.ListFormatsRequest, context: Context) -> service.ListFormatsResponse:
        """See the contract."""
        formats = self._routing().catalog.formats.values()
        return service.ListFormatsResponse(formats=[_format_message(each) for each in formats])

    async def ListProviders(
        self, request: service.ListProvidersRequest, context: Context
    ) -> service.ListProvidersResponse:
        """See the contract."""
        known = dict.fromkeys(model.provider for model in self._routing().catalog.models.values())
        statuses = {status.provider: status for status in self._guards.status()}
        names = dict.fromkeys([*known, *statuses])
        return service.ListProvidersResponse(providers=[self._provider(name, statuses.get(name)) for name in names])

    async def SetProviderState(
        self, request: service.SetProviderStateRequest, context: Context
    ) -> service.SetProviderStateResponse:
        """See the contract."""
        caller = current_caller()
        require_operator(caller, "switch providers")
        for_s = _check_switch(request)
        if request.state == service.PROVIDER_STATE_ENABLED:
            switches.enable(self._guards, request.provider, by=caller.name)
        else:
            switches.disable(self._guards, request.provider, request.reason, for_s, by=caller.name)
        statuses = {status.provider: status for status in self._guards.status()}
        return service.SetProviderStateResponse(provider=self._provider(request.provider, statuses[request.provider]))

    def _provider(self, name: str, status: ProviderStatus | None) -> service.Provider:
        facts = self._facts().get(name)
        message = service.Provider(
            name=name,
            configured=facts is not None,
            state=service.PROVIDER_STATE_ENABLED,
            sandbox=self._sandbox,
            account=facts.account if facts else "",
            base_url=facts.base_url if facts else "",
        )
        if facts is not None and facts.per_minute is not None:
            message.limiter.per_minute = facts.per_minute
        if status is not None:
            _describe(message, status, self._now())
        return message


def _check_switch(request: service.SetProviderStateRequest) -> float | None:
    """For how many seconds to disable; None means until enabled."""
    check, for_s = Check(), None
    if request.state not in {service.PROVIDER_STATE_ENABLED, service.PROVIDER_STATE_DISABLED}:
        check.fail("state", "set PROVIDER_STATE_ENABLED or PROVIDER_STATE_DISABLED")
    if request.state == service.PROVIDER_STATE_DISABLED and request.HasField("duration"):
        for_s = check.value("duration", lambda: seconds(request.duration))
    check.done()
    return for_s


def _describe(message: service.Provider, status: ProviderStatus, now: datetime) -> None:
    """Add what the guard knows."""
    if status.disabled_reason is not None:
        message.state = service.PROVIDER_STATE_DISABLED
        message.reason = status.disabled_reason
        if math.isfinite(status.disabled_s):
            message.until_time.FromDatetime(now + timedelta(seconds=status.disabled_s))
    if status.unfunded_s > 0:
        message.unfunded_until_time.FromDatetime(now + timedelta(seconds=status.unfunded_s))
    message.key_refused = status.key_refused
    message.breakers.extend(_breaker_message(each) for each in status.breakers)
    message.limiter.predicted_wait.CopyFrom(duration_message(status.limiter.wait_s))
    message.limiter.frozen.CopyFrom(duration_message(status.limiter.frozen_s))
    message.limiter.waiting_count = status.waiting
    message.in_flight_count = status.in_flight
    message.concurrency_limit = status.limit


def _breaker_message(status: BreakerStatus) -> service.Breaker:
    counts = status.counts
    return service.Breaker(
        model=status.key.model,
        operation=status.key.operation.value,
        state=enums.BREAKER_STATE.to_proto(status.state),
        failure_rate=counts.failed / counts.calls if counts.calls else 0.0,
        remaining_open=duration_message(status.open_s),
    )


def _model_message(model: Model, facts: ProviderFacts | None) -> service.Model:
    can = model.can
    backend = model.backend(facts.backend if facts else "")
    return service.Model(
        id=model.id,
        provider=model.provider,
        snapshot=model.snapshot,
        aliases=model.aliases,
        successors=model.successors,
        operations=sorted(each.value for each in can.operations),
        qualities=[enums.QUALITY.to_proto(each) for each in can.qualities],
        ratios=[str(each) for each in model.sizes.ratios],
        resolutions=[enums.RESOLUTION.to_proto(each) for each in model.sizes.resolutions],
        output_formats=[enums.OUTPUT_FORMAT.to_proto(each) for each in backend.output_formats],
        max_references=can.max_input_images,
        max_previews=can.max_previews,
        has_mask=can.native_mask,
        has_seed=can.seed,
        has_transparency=can.transparent_background,
        prices=[
            each for day, price in sorted(model.prices.items()) for each in _price_messages(day.isoformat(), price)
        ],
        configured=facts is not None,
    )


def _price_messages(valid_from: str, price: Price) -> list[service.Price]:
    kinds = {
        "text_in": price.text_in,
        "image_in": price.image_in,
        "text_out": price.text_out,
        "image_out": price.image_out,
    }
    source = f"{price.source}, {price.date.isoformat()}"
    return [
        service.Price(token_kind=kind, per_million=money_message(nanos), valid_from=valid_from, source=source)
        for kind, nanos in kinds.items()
    ]


def _format_message(each: Format) -> service.Format:
    return service.Format(
        id=each.id,
        ratio=str(each.ratio),
        width_px=each.size_px[0],
        height_px=each.size_px[1],
        source=f"{each.source}, {each.date.isoformat()}",
    )
