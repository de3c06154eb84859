"""The calls about what there is: models, formats, providers."""

from pictor import enums
from pictor.amounts import duration
from pictor.calls import Calls
from pictor.v1 import catalog_service_pb2 as messages


class Catalog:
    """What CatalogService offers."""

    _calls: Calls

    async def models(self) -> messages.ListModelsResponse:
        """The models of the catalog, with capabilities and prices."""
        message = messages.ListModelsRequest()
        return await self._calls.ask(self._calls.catalog.ListModels, message)

    async def formats(self) -> messages.ListFormatsResponse:
        """The named formats."""
        message = messages.ListFormatsRequest()
        return await self._calls.ask(self._calls.catalog.ListFormats, message)

    async def providers(self) -> messages.ListProvidersResponse:
        """The providers, and how they are doing."""
        message = messages.ListProvidersRequest()
        return await self._calls.ask(self._calls.catalog.ListProviders, message)

    async def set_provider_state(
        self,
        provider: str,
        state: str | messages.ProviderState.ValueType,
        *,
        reason: str = "",
        for_s: float | None = None,
    ) -> messages.Provider:
        """Take a provider out of service (`disabled`, with a reason, perhaps only for some seconds) or back in.

        Raises:
            PictorError: You are no operator, or there is no such provider.
            ValueError: There is no such state.
        """
        message = messages.SetProviderStateRequest(
            provider=provider,
            state=_provider_state_number(state),
            reason=reason,
            duration=None if for_s is None else duration(for_s),
        )
        return (await self._calls.ask(self._calls.catalog.SetProviderState, message)).provider


def _provider_state_number(state: str | int) -> "messages.ProviderState.ValueType":
    return messages.ProviderState.ValueType(enums.number(messages.ProviderState.DESCRIPTOR, state))
